# SPDX-License-Identifier: Apache-2.0
"""The command line of `matting-load`."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import click
from click import Argument
from matting_client.formats import WITH_ALPHA
from matting_client.program.parsing import FILE, TLS, TOKEN, OneOf, Parsed, Sections, flag, number, option, whole_number

from matting_load.plan import DeadlineClass, PhotoSize
from matting_load.reports.thresholds import figures_there

Value = TypeVar("Value")

EPILOG = """\b
exit codes:
  0    the test ran and was reported (a search: a rate was found)
  1    no call was answered, a file cannot be read or written, or even the lowest rate missed the SLO
  2    the command line cannot be followed; nothing was sent
  3    no server answered; nothing was sent
  4    the test ran and was reported, and a --fail-if came true
  130  interrupted by Ctrl-C; what was seen until then is reported"""

_rate = _seconds = number(lambda value: 0 < value <= 1e6, "more than 0, a million at the most")
_seconds_or_none = number(lambda value: 0 <= value <= 1e6, "0 or more, a million at the most")
_share = number(lambda value: 0 < value <= 1, "more than 0, 1 at the most")
_milliseconds = number(lambda value: 0 < value <= 1e9, "more than 0")


def _numbers(separator: str, form: str) -> Parsed:
    """Return the type of numbers with something between them; `form` has as many as there must be, or "..."."""

    def read(text: str) -> tuple[float, ...]:
        with contextlib.suppress(ValueError):
            numbers = tuple(map(float, text.split(separator)))
            if "..." in form or len(numbers) == len(form.split(separator)):
                return numbers
        raise ValueError(f"{text!r} is not of the form {form}")

    return Parsed(read)


def _listed(read: Callable[[str, float], Value]) -> Parsed:
    """Return the type of `VALUE[:SHARE],...`."""

    def read_all(text: str) -> tuple[Value, ...]:
        values: list[Value] = []
        for part in filter(None, text.split(",")):
            value, _, share = part.strip().partition(":")
            try:
                values.append(read(value, float(share or 1.0)))
            except ValueError as error:
                raise ValueError(f"cannot read {part!r} ({error})") from error
        return tuple(values)

    return Parsed(read_all)


def _deadline(text: str, share: float) -> DeadlineClass:
    return DeadlineClass(float(text) / 1e3, share)


def _size(text: str, share: float) -> PhotoSize:
    width, _, height = text.partition("x")
    return PhotoSize(int(width), int(height), share)


def _tensor(text: str) -> tuple[str, str, tuple[int, ...]]:
    try:
        name, datatype, shape = text.split(":")
        sides = tuple(int(part) for part in shape.split("x"))
    except ValueError as error:
        raise ValueError(f"{text!r} is not of the form NAME:TYPE:SHAPE") from error
    if min(sides) < 1:
        raise ValueError(f"{text!r}: every side of a shape is 1 at the least")
    return name, datatype.upper(), sides


def _list_figures(context: click.Context, _: click.Parameter, conditions: tuple[str, ...]) -> tuple[str, ...]:
    """Take conditions; `help` among them lists what they can be on, and ends the program."""
    if "help" in conditions:
        click.echo(figures_there())
        context.exit()
    return conditions


_CONSTANT = flag("--constant", "even gaps instead of Poisson arrivals")
_PROCESSES = option("--processes", "N", "sending processes", whole_number(1, 256), default=1)
_DEADLINES = "one deadline, or several with their shares (default: none)"
_BURSTS = "open loop: on at a rate, then nothing, over and over"
_TENSOR = "image:UINT8:1x320x320x3"
_WHAT = "photos to the gateway (default), tensors to any Open Inference Protocol server, photos to `rembg s`"
_WHERE = (
    "where it listens, or unix:PATH; repeat it for several, which take calls in turn "
    "(default: 127.0.0.1 and port 50051, of tensors 8001, of rembg 7000)"
)
_MARGIN = "tensors: send the protocol's timeout parameter, the deadline less this"
_FAIL_IF = (
    "exit with 4 if it is so: 'p99_ms>250', 'in_time_share<0.99', 'goodput_per_s@100/s<99' of one step or "
    "deadline; repeat it for several (`--fail-if help` lists all figures)"
)

_TARGET = [
    option("--target", None, _WHAT, OneOf(("gateway", "tensors", "rembg")), default="gateway"),
    option("--address", "HOST:PORT", _WHERE, multiple=True),
    option("--model", "NAME", "the model (default: the gateway's own, u2net elsewhere)", default=""),
    option("--output", None, "what to ask for", OneOf(("alpha", "cutout")), default="alpha"),
    option("--format, file_format", None, "file format of the answer", OneOf(WITH_ALPHA), default="png"),
    option("--tensor", "NAME:TYPE:SHAPE", "of tensors", Parsed(_tensor), default=_TENSOR),
    option("--queue-timeout-margin-ms", "MS", _MARGIN, _milliseconds),
    *TOKEN,
    *TLS,
    option("--metrics-url", "URL", "the gateway's /metrics, for batch sizes", default=""),
]
_LOAD = [
    option("--callers", "N", "closed loop: N callers, one call each at a time", whole_number(0, 100_000)),
    option("--rate", "R", "open loop: R calls a second, whatever becomes of them", _rate),
    option("--ramp", "FROM:TO", "open loop: linearly from one rate to another", _numbers(":", "FROM:TO")),
    option("--steps", "R,R,...", "open loop: each rate for --duration seconds", _numbers(",", "R,R,...")),
    option("--bursts", "R:ON_S:OFF_S", _BURSTS, _numbers(":", "R:ON_S:OFF_S")),
    option("--trace", "FILE", "open loop: calls at these times, a number of seconds a line", FILE),
    option("--speed", "X", "replay a trace X times as fast", _rate, default=1.0),
    _CONSTANT,
    option("--duration", "S", "seconds", _seconds, default=10.0),
    option("--warmup", "S", "seconds at the start that do not count", _seconds_or_none, default=0.0),
    option("--settle", "S", "seconds of each step that do not count", _seconds_or_none, default=0.0),
]
_CALLS = [
    option("--deadline-ms, deadlines", "MS[:SHARE],...", _DEADLINES, _listed(_deadline), default=""),
    option("--sizes", "WxH[:SHARE],...", "generated photos", _listed(_size), default="1600x1600"),
    option("--photos", "FOLDER", "the photos of a folder instead", default=""),
    option("--seed", "N", "of arrivals, choices and generated photos", whole_number(0), default=1),
    _PROCESSES,
    option("--connections", "N", "connections of a process to an address", whole_number(1, 1024), default=4),
]
_REPORT = [
    option("--label", "NAME", "the run's name in reports (default: what it is sent to)", default=""),
    option("--json", "FILE", "write the report as JSON, which `compare` reads", FILE),
    option("--html", "FILE", "write the report as one page", FILE),
    option("--csv", "FILE", "write the figures as CSV, a row a deadline and step", FILE),
    flag("-q, --quiet", "no live view"),
]

RUN: Sections = {
    "Target": _TARGET,
    "Load (exactly one of the first six)": _LOAD,
    "Calls": _CALLS,
    "Report": _REPORT,
    "Verdict": [option("--fail-if", "FIGURE>NUMBER", _FAIL_IF, multiple=True, is_eager=True, callback=_list_figures)],
}
SEARCH: Sections = {
    "Target": _TARGET,
    "SLO": [
        option("--good-share", "SHARE", "in time", _share, default=0.99),
        option("--p99-ms", "MS", "the most that the 99th percentile may be", _milliseconds),
    ],
    "Search": [
        option("--low", "R", "the rate to start at", _rate, default=1.0),
        option("--high", "R", "the rate to end at", _rate, default=10_000.0),
        option("--trial", "S", "seconds a rate", _seconds, default=10.0),
        option("--warmup", "S", "and these before it", _seconds_or_none, default=1.0),
        option("--tolerance", "SHARE", "how close", _share, default=0.05),
        _CONSTANT,
    ],
    "Calls": _CALLS,
    "Report": _REPORT,
}
COMPARE: Sections = {
    "Options": [
        Argument(["reports"], nargs=-1, required=True, type=FILE, metavar="FILE...", help="reports as JSON"),
        option("-o, --html", "PAGE", "the page to write", FILE),
        option("--csv", "FILE", "write the figures of all as CSV", FILE),
        option("--title", "TEXT", "the page's title (default: the runs' names)", default=""),
    ]
}
LIMIT: Sections = {
    "Options": [
        _PROCESSES,
        option("--connections", "N", "connections a process", whole_number(1, 1024), default=4),
        option("--kilobytes", "K", "size of a call", whole_number(1, 60_000), default=300),
        option("--trial", "S", "seconds a rate", _seconds, default=4.0),
    ]
}
