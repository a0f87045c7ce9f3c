# SPDX-License-Identifier: Apache-2.0
"""The command line of `matting-load`."""

import argparse
import sys

from matting_client.program.parsing import Parser, add_tls_arguments, number, one_of, parsers_of, whole_number

from matting_load.reports.thresholds import figures_there

SUMMARIES = {
    "run": "run one load test and report",
    "search": "find the highest rate that meets an SLO",
    "compare": "put several reports on one page, or into one CSV",
    "limit": "find the rate at which this generator is the bottleneck",
}

EPILOG = """exit codes:
  0    the test ran and was reported (a search: a rate was found)
  1    no call was answered, a file cannot be read or written, or even the lowest rate missed the SLO
  2    the command line cannot be followed; nothing was sent
  3    no server answered; nothing was sent
  4    the test ran and was reported, and a --fail-if came true
  130  interrupted by Ctrl-C; what was seen until then is reported
"""

_rate = number(lambda value: 0 < value <= 1e6, "more than 0, a million at the most")
_seconds = number(lambda value: 0 < value <= 1e6, "more than 0, a million at the most")
_seconds_or_none = number(lambda value: 0 <= value <= 1e6, "0 or more, a million at the most")
_share = number(lambda value: 0 < value <= 1, "more than 0, 1 at the most")
_milliseconds = number(lambda value: 0 < value <= 1e9, "more than 0")


def make_parsers() -> dict[str, Parser]:
    """Describe each command."""
    parsers = parsers_of("matting-load", SUMMARIES, EPILOG)
    add_run_arguments(parsers["run"])
    add_target_arguments(parsers["search"])
    add_search_arguments(parsers["search"])
    add_call_arguments(parsers["search"])
    add_report_arguments(parsers["search"])
    add_compare_arguments(parsers["compare"])
    add_limit_arguments(parsers["limit"])
    return parsers


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that describes a load test and where its report goes."""
    add_target_arguments(parser)
    load = parser.add_argument_group("load (exactly one of the first six)")
    kinds = load.add_mutually_exclusive_group()
    kinds.add_argument(
        "--callers", type=whole_number(0, 100_000), metavar="N", help="closed loop: N callers, one call each at a time"
    )
    kinds.add_argument("--rate", type=_rate, metavar="R", help="open loop: R calls a second, whatever becomes of them")
    kinds.add_argument("--ramp", metavar="FROM:TO", help="open loop: linearly from one rate to another")
    kinds.add_argument("--steps", metavar="R,R,...", help="open loop: each rate for --duration seconds")
    kinds.add_argument("--bursts", metavar="R:ON_S:OFF_S", help="open loop: on at a rate, then nothing, over and over")
    kinds.add_argument("--trace", metavar="FILE", help="open loop: calls at these times, a number of seconds a line")
    load.add_argument(
        "--speed", type=_rate, default=1.0, metavar="X", help="replay a trace X times as fast (default: 1)"
    )
    load.add_argument("--constant", action="store_true", help="even gaps instead of Poisson arrivals")
    load.add_argument("--duration", type=_seconds, default=10.0, metavar="S", help="seconds (default: 10)")
    load.add_argument(
        "--warmup",
        type=_seconds_or_none,
        default=0.0,
        metavar="S",
        help="seconds at the start that do not count (default: 0)",
    )
    load.add_argument(
        "--settle",
        type=_seconds_or_none,
        default=0.0,
        metavar="S",
        help="seconds of each step that do not count (default: 0)",
    )
    add_call_arguments(parser)
    add_report_arguments(parser)
    parser.add_argument_group("verdict").add_argument(
        "--fail-if",
        action=_Thresholds,
        default=[],
        metavar="FIGURE>NUMBER",
        help="exit with 4 if it is so: 'p99_ms>250', 'in_time_share<0.99', 'goodput_per_s@100/s<99' of one step or "
        "deadline; repeat it for several (`--fail-if help` lists all figures)",
    )


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says what to look for, and how."""
    what = parser.add_argument_group("SLO")
    what.add_argument("--good-share", type=_share, default=0.99, metavar="SHARE", help="in time (default: 0.99)")
    what.add_argument("--p99-ms", type=_milliseconds, metavar="MS", help="the most that the 99th percentile may be")
    how = parser.add_argument_group("search")
    how.add_argument("--low", type=_rate, default=1.0, metavar="R", help="the rate to start at (default: 1)")
    how.add_argument("--high", type=_rate, default=10_000.0, metavar="R", help="the rate to end at (default: 10000)")
    how.add_argument("--trial", type=_seconds, default=10.0, metavar="S", help="seconds a rate (default: 10)")
    how.add_argument(
        "--warmup", type=_seconds_or_none, default=1.0, metavar="S", help="and these before it (default: 1)"
    )
    how.add_argument("--tolerance", type=_share, default=0.05, metavar="SHARE", help="how close (default: 0.05)")
    how.add_argument("--constant", action="store_true", help="even gaps instead of Poisson arrivals")


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which reports are compared, and where to."""
    parser.add_argument("reports", nargs="+", metavar="FILE", help="reports as JSON")
    parser.add_argument("-o", "--html", metavar="PAGE", help="the page to write")
    parser.add_argument("--csv", metavar="FILE", help="write the figures of all as CSV")
    parser.add_argument("--title", default="", metavar="TEXT", help="the page's title (default: the runs' names)")


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how the generator's own limit is looked for."""
    parser.add_argument(
        "--processes", type=whole_number(1, 256), default=1, metavar="N", help="sending processes (default: 1)"
    )
    parser.add_argument(
        "--connections", type=whole_number(1, 1024), default=4, metavar="N", help="connections a process (default: 4)"
    )
    parser.add_argument(
        "--kilobytes", type=whole_number(1, 60_000), default=300, metavar="K", help="size of a call (default: 300)"
    )
    parser.add_argument("--trial", type=_seconds, default=4.0, metavar="S", help="seconds a rate (default: 4)")


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says where calls go."""
    target = parser.add_argument_group("target")
    target.add_argument(
        "--target",
        type=one_of("gateway", "tensors", "rembg"),
        metavar="gateway|tensors|rembg",
        default="gateway",
        help="photos to the gateway (default), tensors to any Open Inference Protocol server, photos to `rembg s`",
    )
    target.add_argument(
        "--address",
        action="append",
        metavar="HOST:PORT",
        help="where it listens, or unix:PATH; repeat it for several, which take calls in turn "
        "(default: 127.0.0.1 and port 50051, of tensors 8001, of rembg 7000)",
    )
    target.add_argument("--model", metavar="NAME", help="the model (default: the gateway's own, u2net elsewhere)")
    target.add_argument(
        "--output",
        type=one_of("alpha", "cutout"),
        metavar="alpha|cutout",
        default="alpha",
        help="what to ask for (default: %(default)s)",
    )
    target.add_argument(
        "--format",
        type=one_of("png", "webp", "avif"),
        metavar="png|webp|avif",
        default="png",
        help="file format of the answer (default: %(default)s)",
    )
    target.add_argument(
        "--tensor",
        default="image:UINT8:1x320x320x3",
        metavar="NAME:TYPE:SHAPE",
        help="of tensors (default: %(default)s)",
    )
    target.add_argument(
        "--queue-timeout-margin-ms",
        type=_milliseconds,
        metavar="MS",
        help="tensors: send the protocol's timeout parameter, the deadline less this",
    )
    target.add_argument("--token", default="", metavar="TOKEN", help="bearer token; @FILE reads it from a file")
    target.add_argument(
        "--token-over-plaintext", action="store_true", help="send the token unencrypted to another machine"
    )
    add_tls_arguments(target)
    target.add_argument("--metrics-url", default="", metavar="URL", help="the gateway's /metrics, for batch sizes")


def add_call_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how a call looks and who sends it."""
    calls = parser.add_argument_group("calls")
    calls.add_argument(
        "--deadline-ms",
        default="",
        metavar="MS[:SHARE],...",
        help="one deadline, or several with their shares (default: none)",
    )
    calls.add_argument(
        "--sizes", default="1600x1600", metavar="WxH[:SHARE],...", help="generated photos (default: %(default)s)"
    )
    calls.add_argument("--photos", default="", metavar="FOLDER", help="the photos of a folder instead")
    calls.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="N",
        default=1,
        help="of arrivals, choices and generated photos (default: 1)",
    )
    calls.add_argument(
        "--processes", type=whole_number(1, 256), default=1, metavar="N", help="sending processes (default: 1)"
    )
    calls.add_argument(
        "--connections",
        type=whole_number(1, 1024),
        default=4,
        metavar="N",
        help="connections of a process to an address (default: 4)",
    )


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the report goes."""
    report = parser.add_argument_group("report")
    report.add_argument(
        "--label", default="", metavar="NAME", help="the run's name in reports (default: what it is sent to)"
    )
    report.add_argument("--json", metavar="FILE", help="write the report as JSON, which `compare` reads")
    report.add_argument("--html", metavar="FILE", help="write the report as one page")
    report.add_argument("--csv", metavar="FILE", help="write the figures as CSV, a row a deadline and step")
    report.add_argument("-q", "--quiet", action="store_true", help="no live view")


class _Thresholds(argparse.Action):
    """Collects conditions; `help` lists what they can be on, and ends the program."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if values == "help":
            sys.stdout.write(f"{figures_there()}\n")
            parser.exit()
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])
