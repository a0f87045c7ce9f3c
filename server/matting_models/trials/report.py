# SPDX-License-Identifier: Apache-2.0
"""Reports as one HTML page that needs nothing else: pictures are inside it."""

import base64
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from matting_models.sources.fetch import replacing
from matting_models.trials.engines import Pixels
from matting_models.trials.verify import PictureResult, Verification

_THUMBNAIL_PX = 220
# Differences are small: they are shown so many times larger.
_DIFFERENCE_GAIN = 8

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; color: #1c2128; }}
h1 {{ font-size: 1.4rem; margin-bottom: .2rem }}
.verdict {{ display: inline-block; padding: .15rem .7rem; border-radius: 1rem; font-weight: 600; }}
.good {{ background: #d7f5dd; color: #10591f }} .bad {{ background: #ffdcd7; color: #8a1606 }}
table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ padding: .3rem .8rem; text-align: left;
  border-bottom: 1px solid #e3e6ea; font-variant-numeric: tabular-nums }}
.row {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: .7rem; margin: .4rem 0 1.6rem }}
figure {{ margin: 0 }} figcaption {{ font-size: .8rem; color: #5b6470 }}
img {{ width: 100%; display: block; border: 1px solid #e3e6ea; image-rendering: auto }}
h3 {{ font-size: 1rem; margin: 1.2rem 0 .2rem }} li {{ color: #8a1606 }}
</style></head><body>
<h1>{title}</h1>
<p>{summary}</p>
<p class="verdict {verdict_class}">{verdict}</p>
{body}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its head and its cells, text."""

    head: str
    cells: tuple[str, ...]


def write_page(path: Path, title: str, summary: str, *, passed: bool, body: str) -> None:
    """Writes a report page. `title` and `summary` are text, `body` is HTML."""
    text = _PAGE.format(
        title=html.escape(title),
        summary=html.escape(summary),
        verdict="passed" if passed else "FAILED",
        verdict_class="good" if passed else "bad",
        body=body,
    )
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Writes figures for programs."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_contact_sheet(path: Path, verification: Verification) -> None:
    """The page of `models verify`: each picture, the original's alpha, ours, and the difference."""
    bounds = verification.bounds
    anywhere = f"{bounds.worst_steps}/255 anywhere and " if bounds.worst_steps < 255 else ""
    summary = (
        f"Engine {verification.engine}. Allowed for each picture: {anywhere}{bounds.mean} on average, of 1.0. "
        f"Found {verification.mean:.5f} on average over all that count."
    )
    batches = table(
        Column("batch of", tuple(str(outcome.size) for outcome in verification.batches)),
        Column(
            "largest difference to alone",
            tuple(outcome.refusal or f"{outcome.worst_steps}/255" for outcome in verification.batches),
        ),
    )
    failures = "".join(f"<li>{html.escape(failure)}</li>" for failure in verification.failures)
    remarks = "".join(f"<p>{html.escape(text)}</p>" for text in (*verification.notes, *verification.advice))
    rows = "".join(map(_picture_row, verification.pictures))
    write_page(
        path,
        f"{verification.entry} against its original",
        summary,
        passed=verification.passed,
        body=f"<ul>{failures}</ul>{remarks}{rows}<h3>In batches, among hostile neighbours</h3>{batches}",
    )


def _picture_row(picture: PictureResult) -> str:
    difference = np.abs(picture.expected.astype(np.int16) - picture.found)
    shown = np.clip(difference * _DIFFERENCE_GAIN, 0, 255).astype(np.uint8)
    figures = (
        (picture.image, "photo"),
        (picture.expected, "the original"),
        (picture.found, "this entry"),
        (shown, f"difference, {_DIFFERENCE_GAIN} times"),
    )
    head = f"{picture.name}: {picture.mean:.5f} on average, {picture.worst_steps}/255 at most"
    if not picture.counts:
        head += " (does not count: nothing is in it to find)"
    return f"<h3>{html.escape(head)}</h3><div class='row'>{''.join(_figure(*figure) for figure in figures)}</div>"


def _figure(pixels: Pixels, caption: str) -> str:
    return f"<figure><img alt='{caption}' src='{data_uri(pixels)}'><figcaption>{caption}</figcaption></figure>"


def table(*columns: Column) -> str:
    """An HTML table of columns of text."""
    head = "".join(f"<th>{html.escape(column.head)}</th>" for column in columns)
    lines = zip(*(column.cells for column in columns), strict=True)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """A small picture as a `data:` address."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
