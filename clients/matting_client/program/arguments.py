# SPDX-License-Identifier: Apache-2.0
"""What can be given to `matting`."""

import math

from click import Argument, Option

from matting_client.formats import FILE_FORMATS, WITH_LOSSLESS, WITH_QUALITY
from matting_client.photos import REFINEMENTS, Refinement
from matting_client.program.parsing import FILE, TLS, TOKEN, OneOf, Sections, flag, number, option, whole_number
from matting_client.transport.connection import DEFAULT_ADDRESS

# The best that costs less than a quarter of a second a photo on two cores; docs/refinement.md has the figures.
DEFAULT_REFINEMENT: Refinement = "matting"
SHELLS = ("bash", "zsh", "fish")

EPILOG = """\b
exit codes:
  0    all done
  1    some failed, each named on standard error with why
  2    the command line cannot be followed; nothing was done
  3    no gateway answered, or it stopped answering; what was left was not tried
  130  interrupted by Ctrl-C; what was done is said

\b
environment:
  MATTING_SERVER  the server where --server is not given; several with commas"""


def server_options(server: str) -> list[Option]:
    """Return what says which gateway is asked; `server` is the default address, empty for this machine's."""
    default = [part.strip() for part in server.split(",") if part.strip()] or [DEFAULT_ADDRESS]
    where = f"where the gateway listens, or unix:PATH; repeat it for several (default: {', '.join(default)})"
    patience = "seconds for a photo or a question, waiting for a model that is being loaded included"
    return [
        option("--server", "HOST:PORT", where, default=default, multiple=True),
        *TLS,
        *TOKEN,
        option("--timeout", "S", patience, number(lambda value: 0 < value < math.inf, "more than 0"), default=60.0),
    ]


_PHOTOS = "photos, folders of photos, patterns such as '*.jpg', or - for a pipe"
_OUT = "a file, whose suffix says its format; a folder for several; or - for a pipe"
_KIND = "what to make (default: cutout, or composite where there is a --background)"
_REFINE = "sharpen the alpha's edge on the photo: solved for, or by a guided filter (default: matting)"
_CLEAN = "take background colour out of the soft edge (default: wherever there is colour and a refined edge)"
_MARGIN = "room around a crop, as a share of its longer side, 0 to 1 (default: 0)"
_SKIP = "leave results that are there, and make the others (default: where one is there nothing is done)"

JSON = flag("--json, as_json", "print JSON")
COMPLETION: Sections = {
    "Options": [Argument(["shell"], type=OneOf(SHELLS), metavar="|".join(SHELLS), help="which one")]
}

CUTOUT: Sections = {
    "Options": [
        Argument(["inputs"], nargs=-1, required=True, type=FILE, metavar="IN...", help=_PHOTOS),
        option("-o, --out", "OUT", _OUT, FILE, required=True),
    ],
    "Result": [
        option("--output, kind", None, _KIND, OneOf(("alpha", "cutout", "composite"))),
        option("--background", "#RRGGBB|FILE", "what a composite goes over", FILE),
        option("--format, file_format", None, "file format (default: by OUT's suffix, or png)", OneOf(FILE_FORMATS)),
        option("--quality", "1-100", f"of {', '.join(WITH_QUALITY)} (default: 85)", whole_number(1, 100)),
        flag("--lossless", f"write {', '.join(WITH_LOSSLESS)} without loss"),
        option("--refine", f"[{'|'.join(REFINEMENTS)}]", _REFINE, is_flag=False, flag_value="guided"),
        Option(["--decontaminate/--no-decontaminate"], default=None, help=_CLEAN),
        flag("--crop", "cut to the subject"),
        option("--margin", "SHARE", _MARGIN, number(lambda value: 0 <= value <= 1, "0 to 1")),
        option("--max-side", "PX", "scale down to this side", whole_number(1)),
    ],
    "Files": [
        flag("-r, --recursive", "take what is in folders below folders as well"),
        flag("--overwrite", "replace results that are there"),
        flag("--skip-existing", _SKIP),
    ],
    "Work": [
        option("--model", "NAME[:VERSION]", "the model (default: the server's)", default=""),
        flag("--server-side", "have the server make the finished files"),
        option("--concurrency", "N", "photos at a time", whole_number(1), default=4),
        flag("--json, as_json", "print a line of JSON for each photo on standard output"),
        flag("-q, --quiet", "tell nothing but errors"),
    ],
}
