# SPDX-License-Identifier: Apache-2.0
"""The command line of `matting` as values, checked."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click import UsageError

from matting_client.formats import WITH_ALPHA, WITH_LOSSLESS, FileFormat
from matting_client.local import why_not_local
from matting_client.photos import REFINEMENTS, BackgroundPicture, Color, Kind, OutputSpec, Refinement
from matting_client.program.arguments import DEFAULT_REFINEMENT
from matting_client.program.cutout import CutoutPlan
from matting_client.program.explaining import did_you_mean
from matting_client.program.paths.files import (
    Existing,
    FileJob,
    choose_format,
    is_one_file,
    plan_files,
    settle_existing,
)
from matting_client.program.paths.finding import STANDARD, find_photos, with_folders_below


@dataclass(frozen=True, slots=True)
class CutoutOrder:
    """What `matting cutout` is to do: `kept` are jobs whose result is there and stays.

    `not_local` says why the server makes the finished files where this machine was to; empty where nothing is amiss.
    `left_out` are folders of which those below were not looked into.
    """

    jobs: list[FileJob]
    kept: list[FileJob]
    plan: CutoutPlan
    not_local: str
    left_out: list[str]


def read_cutout(given: Mapping[str, Any]) -> CutoutOrder:
    """Check what was given for `cutout` against one another and say what is to be done.

    Raises:
        UsageError, ValueError: It contradicts itself, or a file or folder is not as it says.
    """
    # This process's own descriptors are taken for what they are, whatever they are redirected to.
    inputs = [STANDARD if text == "/dev/stdin" else text for text in given["inputs"]]
    out = STANDARD if given["out"] == "/dev/stdout" else given["out"]
    kind: Kind = given["kind"] or ("composite" if given["background"] else "cutout")
    found = find_photos(inputs, out, recursive=given["recursive"])
    one_file = is_one_file(found, out)
    file_format = choose_format(out, given["file_format"], one_file=one_file)
    _check_together(given, kind, file_format)
    _check_pipes(inputs, out, as_json=given["as_json"])
    refinement: Refinement = given["refine"] or DEFAULT_REFINEMENT
    default_decontaminate = kind != "alpha" and refinement != "none"
    spec = OutputSpec(
        kind=kind,
        encoding=file_format,
        quality=given["quality"] or 0,
        lossless=given["lossless"],
        refine=refinement,
        decontaminate=default_decontaminate if given["decontaminate"] is None else given["decontaminate"],
        background=_background(given["background"]),
        crop_margin_share=(given["margin"] or 0.0) if given["crop"] else None,
        max_side_px=given["max_side"] or 0,
    )
    jobs = plan_files(found, out, kind, file_format, one_file=one_file)
    existing: Existing = "overwrite" if given["overwrite"] else "skip" if given["skip_existing"] else "refuse"
    jobs, kept = settle_existing(jobs, existing)
    model, _, version = given["model"].partition(":")
    # An alpha is what the server makes anyway; there is nothing to compose.
    wanted_local = not given["server_side"] and kind != "alpha"
    not_local = why_not_local() if wanted_local else ""
    plan = CutoutPlan(
        spec,
        model,
        version,
        local=wanted_local and not not_local,
        insists=given["refine"] is not None,
        overwrite=given["overwrite"],
    )
    left_out = [] if given["recursive"] else with_folders_below(inputs, out)
    return CutoutOrder(jobs, kept, plan, not_local, left_out)


def _check_pipes(inputs: Sequence[str], out: str, *, as_json: bool) -> None:
    if STANDARD in inputs and sys.stdin.isatty():
        raise ValueError("standard input is a terminal: pipe a photo into -, or name a file")
    if out != STANDARD:
        return
    if as_json:
        raise ValueError("--json and -o - both want standard output: let the result go to a file")
    if sys.stdout.isatty():
        raise ValueError("standard output is a terminal: send -o - into a pipe or a file, or name a file")


def _check_together(given: Mapping[str, Any], kind: Kind, file_format: FileFormat) -> None:
    if given["overwrite"] and given["skip_existing"]:
        raise UsageError("argument --skip-existing: not allowed with argument --overwrite")
    if given["refine"] not in (None, *REFINEMENTS):
        said = f"{', '.join(REFINEMENTS)}, not {given['refine']!r}{did_you_mean(given['refine'], REFINEMENTS)}"
        raise ValueError(f"--refine is one of {said}; without a word it goes after the photos")
    if kind == "composite" and not given["background"]:
        raise ValueError("a composite needs --background '#rrggbb' or a file")
    if kind != "composite" and given["background"]:
        raise ValueError(f"--background goes with --output composite, not with {kind}")
    if kind == "cutout" and file_format not in WITH_ALPHA:
        raise ValueError(f"{file_format} holds no alpha: take {', '.join(WITH_ALPHA)}, or --output composite")
    if kind == "alpha" and given["decontaminate"]:
        raise ValueError("--decontaminate changes colours, and an alpha has none")
    if given["margin"] is not None and not given["crop"]:
        raise ValueError("--margin goes with --crop")
    if given["lossless"] and file_format not in WITH_LOSSLESS:
        raise ValueError(f"--lossless is of {', '.join(WITH_LOSSLESS)}; {file_format} has no choice")


def _background(text: str | None) -> Color | BackgroundPicture | None:
    if not text:
        return None
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    try:
        return BackgroundPicture(Path(text).read_bytes())
    except OSError as error:
        raise ValueError(f"--background {text!r} is neither a colour like '#ffffff' nor a file: {error}") from error
