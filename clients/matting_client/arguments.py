# SPDX-License-Identifier: Apache-2.0
"""The command line of `matting` as values, checked."""

import argparse
import re
from pathlib import Path
from typing import cast

from matting_client.connection import DEFAULT_ADDRESS, Tls
from matting_client.cutout import CutoutPlan
from matting_client.files import FORMAT_OF_SUFFIX, FileJob, plan_files
from matting_client.local import why_not_local
from matting_client.photos import (
    FILE_FORMATS,
    REFINEMENTS,
    BackgroundPicture,
    Color,
    FileFormat,
    Kind,
    OutputSpec,
    Refinement,
)

# The best that costs less than a quarter of a second a photo on two cores; docs/refinement.md has the figures.
DEFAULT_REFINEMENT: Refinement = "matting"


class UsageError(Exception):
    """The command line asks for what cannot be."""


def add_connection_arguments(parser: argparse.ArgumentParser, server: str) -> None:
    """Add what every command needs to reach a server."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--server",
        action=_Addresses,
        default=[part.strip() for part in server.split(",") if part.strip()] or [DEFAULT_ADDRESS],
        metavar="HOST:PORT",
        help="where the gateway listens, or unix:PATH; repeat it for several (default: %(default)s)",
    )
    group.add_argument("--tls", action="store_true", help="speak TLS, trusting the usual roots")
    group.add_argument("--tls-ca", metavar="FILE", help="speak TLS, trusting these roots (PEM)")
    group.add_argument("--tls-cert", metavar="FILE", help="this client's certificate (PEM)")
    group.add_argument("--tls-key", metavar="FILE", help="the key of --tls-cert (PEM)")
    group.add_argument("--tls-server-name", default="", metavar="NAME", help="the name in the server's certificate")
    group.add_argument("--token", type=_token, metavar="TOKEN", help="bearer token; @FILE reads it from a file")
    group.add_argument(
        "--token-over-plaintext", action="store_true", help="send the token unencrypted to another machine"
    )
    group.add_argument(
        "--timeout", type=_positive_float, default=60.0, metavar="S", help="seconds for a photo (default: 60)"
    )


def add_cutout_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `cutout`."""
    parser.add_argument("inputs", nargs="+", metavar="IN", help="photos, or folders of photos")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="a file, or a folder for several")
    result = parser.add_argument_group("result")
    result.add_argument("--output", choices=("alpha", "cutout", "composite"), help="what to make (default: cutout)")
    result.add_argument("--background", metavar="#RRGGBB|FILE", help="what a composite goes over")
    result.add_argument("--format", choices=FILE_FORMATS, help="file format (default: by OUT's suffix, or png)")
    result.add_argument("--quality", type=_quality, default=0, metavar="1-100", help="of webp, jpeg and avif")
    result.add_argument("--lossless", action="store_true", help="write webp without loss")
    result.add_argument(
        "--refine",
        nargs="?",
        const="guided",
        metavar="|".join(REFINEMENTS),
        help="sharpen the alpha's edge on the photo: solved for, or by a guided filter (default: matting)",
    )
    result.add_argument(
        "--decontaminate",
        action=argparse.BooleanOptionalAction,
        help="take background colour out of the soft edge (default: wherever there is colour and a refined edge)",
    )
    result.add_argument("--crop", action="store_true", help="cut to the subject")
    result.add_argument(
        "--margin", type=_share, metavar="SHARE", help="room around a crop, as a share of its longer side, 0 to 1"
    )
    result.add_argument("--max-side", type=_positive_int, default=0, metavar="PX", help="scale down to this side")
    work = parser.add_argument_group("work")
    work.add_argument("--model", default="", metavar="NAME[:VERSION]", help="the model (default: the server's)")
    work.add_argument("--server-side", action="store_true", help="have the server make the finished files")
    work.add_argument(
        "--concurrency", type=_positive_int, default=4, metavar="N", help="photos at a time (default: %(default)s)"
    )
    work.add_argument("-q", "--quiet", action="store_true", help="tell nothing but errors")


def read_cutout(arguments: argparse.Namespace) -> tuple[list[FileJob], CutoutPlan]:
    """Check the arguments of `cutout` against one another and say what is to be done.

    Raises:
        UsageError: They contradict one another.
        ValueError: A file or folder is not as the arguments say.
    """
    kind: Kind = arguments.output or ("composite" if arguments.background else "cutout")
    file_format = _file_format(arguments)
    _check_together(arguments, kind, file_format)
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
    jobs = plan_files(arguments.inputs, arguments.out, kind, file_format)
    model, _, version = arguments.model.partition(":")
    # An alpha is what the server makes anyway; there is nothing to compose.
    wanted_local = not arguments.server_side and kind != "alpha"
    arguments.local_missing = why_not_local() if wanted_local else ""
    is_local = wanted_local and not arguments.local_missing
    return jobs, CutoutPlan(spec, model, version, local=is_local, insists=arguments.refine is not None)


def read_tls(arguments: argparse.Namespace) -> Tls | None:
    """Return the TLS files asked for, or None for plaintext."""
    if not (arguments.tls or arguments.tls_ca or arguments.tls_cert or arguments.tls_key):
        return None
    return Tls(arguments.tls_ca, arguments.tls_cert, arguments.tls_key, arguments.tls_server_name)


def _file_format(arguments: argparse.Namespace) -> FileFormat:
    out = Path(arguments.out)
    by_suffix = None if out.is_dir() else FORMAT_OF_SUFFIX.get(out.suffix.lower())
    if arguments.format and by_suffix and arguments.format != by_suffix:
        raise UsageError(f"{out} is not named as the {arguments.format} that --format asks for")
    return cast("FileFormat", arguments.format or by_suffix or "png")


def _check_together(arguments: argparse.Namespace, kind: Kind, file_format: FileFormat) -> None:
    if arguments.refine is not None and arguments.refine not in REFINEMENTS:
        known = ", ".join(REFINEMENTS)
        raise UsageError(
            f"--refine is one of {known}, not {arguments.refine!r}; without a word it goes after the photos"
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


class _Addresses(argparse.Action):
    """Collects repeated addresses; the first one given replaces the default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        given = [] if getattr(namespace, self.dest) is self.default else list(getattr(namespace, self.dest))
        setattr(namespace, self.dest, [*given, str(values)])


def _token(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read the token's file: {error}") from error


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text}: more than 0")
    return value


def _quality(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text}: 1 to 100")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: 0 to 1")
    return value
