# SPDX-License-Identifier: Apache-2.0
"""The command line of `matting` as values, checked."""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from matting_client.local import why_not_local
from matting_client.photos import REFINEMENTS, BackgroundPicture, Color, FileFormat, Kind, OutputSpec, Refinement
from matting_client.program.arguments import DEFAULT_REFINEMENT
from matting_client.program.cutout import CutoutPlan
from matting_client.program.explaining import did_you_mean
from matting_client.program.parsing import UsageError
from matting_client.program.paths.files import FileJob, choose_format, is_one_file, plan_files, settle_existing
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


def read_cutout(arguments: argparse.Namespace) -> CutoutOrder:
    """Check the arguments of `cutout` against one another and say what is to be done.

    Raises:
        UsageError: They contradict one another.
        ValueError: A file or folder is not as the arguments say.
    """
    _name_standard(arguments)
    kind: Kind = arguments.output or ("composite" if arguments.background else "cutout")
    found = find_photos(arguments.inputs, arguments.out, recursive=arguments.recursive)
    one_file = is_one_file(found, arguments.out)
    file_format = choose_format(arguments.out, arguments.format, one_file=one_file)
    _check_together(arguments, kind, file_format)
    _check_pipes(arguments)
    refinement: Refinement = arguments.refine or DEFAULT_REFINEMENT
    default_decontaminate = kind != "alpha" and refinement != "none"
    spec = OutputSpec(
        kind=kind,
        encoding=file_format,
        quality=arguments.quality,
        lossless=arguments.lossless,
        refine=refinement,
        decontaminate=default_decontaminate if arguments.decontaminate is None else arguments.decontaminate,
        background=_background(arguments.background),
        crop_margin_share=(arguments.margin or 0.0) if arguments.crop else None,
        max_side_px=arguments.max_side,
    )
    jobs = plan_files(found, arguments.out, kind, file_format, one_file=one_file)
    jobs, kept = settle_existing(jobs, arguments.existing)
    model, _, version = arguments.model.partition(":")
    # An alpha is what the server makes anyway; there is nothing to compose.
    wanted_local = not arguments.server_side and kind != "alpha"
    not_local = why_not_local() if wanted_local else ""
    plan = CutoutPlan(
        spec,
        model,
        version,
        local=wanted_local and not not_local,
        insists=arguments.refine is not None,
        overwrite=arguments.existing == "overwrite",
    )
    left_out = [] if arguments.recursive else with_folders_below(arguments.inputs, arguments.out)
    return CutoutOrder(jobs, kept, plan, not_local, left_out)


def _name_standard(arguments: argparse.Namespace) -> None:
    """Take this process's own descriptors for what they are, whatever they are redirected to."""
    arguments.inputs = [STANDARD if text == "/dev/stdin" else text for text in arguments.inputs]
    arguments.out = STANDARD if arguments.out == "/dev/stdout" else arguments.out


def _check_pipes(arguments: argparse.Namespace) -> None:
    if STANDARD in arguments.inputs and sys.stdin.isatty():
        raise UsageError("standard input is a terminal: pipe a photo into -, or name a file")
    if arguments.out != STANDARD:
        return
    if arguments.json:
        raise UsageError("--json and -o - both want standard output: let the result go to a file")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal: send -o - into a pipe or a file, or name a file")


def _check_together(arguments: argparse.Namespace, kind: Kind, file_format: FileFormat) -> None:
    if arguments.refine is not None and arguments.refine not in REFINEMENTS:
        known = ", ".join(REFINEMENTS)
        near = did_you_mean(arguments.refine, REFINEMENTS)
        raise UsageError(
            f"--refine is one of {known}, not {arguments.refine!r}{near}; without a word it goes after the photos"
        )
    if kind == "composite" and not arguments.background:
        raise UsageError("a composite needs --background '#rrggbb' or a file")
    if kind != "composite" and arguments.background:
        raise UsageError(f"--background goes with --output composite, not with {kind}")
    if kind == "cutout" and file_format == "jpeg":
        raise UsageError("a JPEG holds no alpha: take png, webp or avif, or --output composite")
    if kind == "alpha" and arguments.decontaminate:
        raise UsageError("--decontaminate changes colours, and an alpha has none")
    if arguments.margin is not None and not arguments.crop:
        raise UsageError("--margin goes with --crop")
    if arguments.lossless and file_format != "webp":
        raise UsageError(f"--lossless is of webp; {file_format} has no choice")


def _background(text: str | None) -> Color | BackgroundPicture | None:
    if not text:
        return None
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    try:
        return BackgroundPicture(Path(text).read_bytes())
    except OSError as error:
        raise UsageError(f"--background {text!r} is neither a colour like '#ffffff' nor a file: {error}") from error
