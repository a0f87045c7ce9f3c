# SPDX-License-Identifier: Apache-2.0
"""What can be given to `matting`."""

import argparse
import math
from pathlib import Path

from matting_client.photos import FILE_FORMATS, REFINEMENTS, Refinement
from matting_client.program.parsing import Parser, add_tls_arguments, number, one_of, parsers_of, whole_number
from matting_client.transport.connection import DEFAULT_ADDRESS

# The best that costs less than a quarter of a second a photo on two cores; docs/refinement.md has the figures.
DEFAULT_REFINEMENT: Refinement = "matting"
SHELLS = ("bash", "zsh", "fish")
# What the programs' completion offers the files of a folder for.
FILES = frozenset(("inputs", "out", "background", "tls_ca", "tls_cert", "tls_key"))

SUMMARIES = {
    "cutout": "cut the subject out of files and folders",
    "models": "list the models that can be named",
    "policy": "print what the server does with data",
    "completion": "print the completion for bash, zsh or fish",
}

EPILOG = """exit codes:
  0    all done
  1    some failed, each named on standard error with why
  2    the command line cannot be followed; nothing was done
  3    no gateway answered, or it stopped answering; what was left was not tried
  130  interrupted by Ctrl-C; what was done is said

environment:
  MATTING_SERVER  the server where --server is not given; several with commas
"""


def make_parsers(server: str) -> dict[str, Parser]:
    """Describe each command; `server` is the default address, empty for this machine's."""
    parsers = parsers_of("matting", SUMMARIES, EPILOG)
    _add_cutout_arguments(parsers["cutout"])
    for name in ("models", "policy"):
        parsers[name].add_argument("--json", action="store_true", help="print JSON")
    parsers["completion"].add_argument("shell", type=one_of(*SHELLS), metavar="|".join(SHELLS), help="which one")
    for name in ("cutout", "models", "policy"):
        _add_connection_arguments(parsers[name], server)
    return parsers


def _add_connection_arguments(parser: Parser, server: str) -> None:
    group = parser.add_argument_group("server")
    default = [part.strip() for part in server.split(",") if part.strip()] or [DEFAULT_ADDRESS]
    group.add_argument(
        "--server",
        action=_Addresses,
        default=default,
        metavar="HOST:PORT",
        help=f"where the gateway listens, or unix:PATH; repeat it for several (default: {', '.join(default)})",
    )
    add_tls_arguments(group)
    group.add_argument("--token", type=_token, metavar="TOKEN", help="bearer token; @FILE reads it from a file")
    group.add_argument(
        "--token-over-plaintext", action="store_true", help="send the token unencrypted to another machine"
    )
    group.add_argument(
        "--timeout",
        type=number(lambda value: 0 < value < math.inf, "more than 0"),
        default=60.0,
        metavar="S",
        help="seconds for a photo or a question, waiting for a model that is being loaded included (default: 60)",
    )


def _add_cutout_arguments(parser: Parser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help="photos, folders of photos, patterns such as '*.jpg', or - for a pipe"
    )
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="OUT",
        help="a file, whose suffix says its format; a folder for several; or - for a pipe",
    )
    _add_result_arguments(parser)
    files = parser.add_argument_group("files")
    files.add_argument("-r", "--recursive", action="store_true", help="take what is in folders below folders as well")
    existing = files.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", dest="existing", action="store_const", const="overwrite", help="replace results that are there"
    )
    existing.add_argument(
        "--skip-existing",
        dest="existing",
        action="store_const",
        const="skip",
        help="leave results that are there, and make the others (default: where one is there nothing is done)",
    )
    parser.set_defaults(existing="refuse")
    work = parser.add_argument_group("work")
    work.add_argument("--model", default="", metavar="NAME[:VERSION]", help="the model (default: the server's)")
    work.add_argument("--server-side", action="store_true", help="have the server make the finished files")
    work.add_argument(
        "--concurrency", type=whole_number(1), default=4, metavar="N", help="photos at a time (default: 4)"
    )
    work.add_argument("--json", action="store_true", help="print a line of JSON for each photo on standard output")
    work.add_argument("-q", "--quiet", action="store_true", help="tell nothing but errors")


def _add_result_arguments(parser: Parser) -> None:
    result = parser.add_argument_group("result")
    kinds = ("alpha", "cutout", "composite")
    result.add_argument(
        "--output",
        type=one_of(*kinds),
        metavar="|".join(kinds),
        help="what to make (default: cutout, or composite where there is a --background)",
    )
    result.add_argument("--background", metavar="#RRGGBB|FILE", help="what a composite goes over")
    result.add_argument(
        "--format",
        type=one_of(*FILE_FORMATS),
        metavar="|".join(FILE_FORMATS),
        help="file format (default: by OUT's suffix, or png)",
    )
    result.add_argument(
        "--quality", type=whole_number(1, 100), default=0, metavar="1-100", help="of webp, jpeg and avif (default: 85)"
    )
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
        "--margin",
        type=number(lambda value: 0 <= value <= 1, "0 to 1"),
        metavar="SHARE",
        help="room around a crop, as a share of its longer side, 0 to 1 (default: 0)",
    )
    result.add_argument("--max-side", type=whole_number(1), default=0, metavar="PX", help="scale down to this side")


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
