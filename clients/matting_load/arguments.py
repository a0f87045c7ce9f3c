# SPDX-License-Identifier: Apache-2.0
"""The command line of `matting-load` as a plan, checked."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from matting_client import Tls

from matting_load.arrivals import Process, bursts, ramp, read_trace, steady, steps
from matting_load.plan import (
    ClosedLoop,
    DeadlineClass,
    GatewayTarget,
    Load,
    OpenLoop,
    Photos,
    PhotoSize,
    Plan,
    RembgTarget,
    Replay,
    Target,
    TensorTarget,
)
from matting_load.search import Search, Slo

Value = TypeVar("Value")


class UsageError(Exception):
    """The command line asks for what cannot be."""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that describes a load test and where its report goes."""
    add_target_arguments(parser)
    load = parser.add_argument_group("load (exactly one of the first six)")
    kinds = load.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--callers", type=int, metavar="N", help="closed loop: N callers, one call each at a time")
    kinds.add_argument("--rate", type=float, metavar="R", help="open loop: R calls a second")
    kinds.add_argument("--ramp", metavar="FROM:TO", help="open loop: linearly from one rate to another")
    kinds.add_argument("--steps", metavar="R,R,...", help="open loop: each rate for --duration seconds")
    kinds.add_argument("--bursts", metavar="R:ON_S:OFF_S", help="open loop: on at a rate, then nothing, over and over")
    kinds.add_argument("--trace", metavar="FILE", help="open loop: calls at these times, a number of seconds a line")
    load.add_argument("--speed", type=float, default=1.0, metavar="X", help="replay a trace X times as fast")
    load.add_argument("--constant", action="store_true", help="even gaps instead of Poisson arrivals")
    load.add_argument("--duration", type=float, default=10.0, metavar="S", help="seconds (default: %(default)s)")
    load.add_argument("--warmup", type=float, default=0.0, metavar="S", help="seconds at the start that do not count")
    load.add_argument("--settle", type=float, default=0.0, metavar="S", help="seconds of each step that do not count")
    add_call_arguments(parser)
    add_report_arguments(parser)


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says what to look for, and how."""
    what = parser.add_argument_group("SLO")
    what.add_argument("--good-share", type=float, default=0.99, metavar="SHARE", help="in time (default: 0.99)")
    what.add_argument("--p99-ms", type=float, metavar="MS", help="the most that the 99th percentile may be")
    how = parser.add_argument_group("search")
    how.add_argument("--low", type=float, default=1.0, metavar="R", help="the rate to start at (default: 1)")
    how.add_argument("--high", type=float, default=10_000.0, metavar="R", help="the rate to end at (default: 10000)")
    how.add_argument("--trial", type=float, default=10.0, metavar="S", help="seconds a rate (default: 10)")
    how.add_argument("--warmup", type=float, default=1.0, metavar="S", help="and these before it (default: 1)")
    how.add_argument("--tolerance", type=float, default=0.05, metavar="SHARE", help="how close (default: 0.05)")
    how.add_argument("--constant", action="store_true", help="even gaps instead of Poisson arrivals")


def read_search(arguments: argparse.Namespace) -> tuple[Slo, Search]:
    """Make the SLO and the search.

    Raises:
        ValueError: Something is out of its range.
    """
    p99_s = None if arguments.p99_ms is None else arguments.p99_ms / 1e3
    how = Search(
        low_per_s=arguments.low,
        high_per_s=arguments.high,
        trial_s=arguments.trial,
        warmup_s=arguments.warmup,
        tolerance=arguments.tolerance,
        process="constant" if arguments.constant else "poisson",
    )
    return Slo(arguments.good_share, p99_s), how


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says where calls go."""
    target = parser.add_argument_group("target")
    target.add_argument(
        "--target",
        choices=("gateway", "tensors", "rembg"),
        default="gateway",
        help="photos to the gateway, tensors to any Open Inference Protocol server, photos to `rembg s`",
    )
    target.add_argument("--address", metavar="HOST:PORT", help="where it listens (default: the target's usual port)")
    target.add_argument("--model", metavar="NAME", help="the model (default: the gateway's own, u2net elsewhere)")
    target.add_argument(
        "--output", choices=("alpha", "cutout"), default="alpha", help="what to ask a photo's answer for"
    )
    target.add_argument("--format", choices=("png", "webp", "avif"), default="png", help="file format of the answer")
    target.add_argument(
        "--tensor",
        default="image:UINT8:1x320x320x3",
        metavar="NAME:TYPE:SHAPE",
        help="of tensors (default: %(default)s)",
    )
    target.add_argument(
        "--queue-timeout-margin-ms",
        type=float,
        metavar="MS",
        help="tensors: send the protocol's timeout parameter, the deadline less this",
    )
    target.add_argument("--token", default="", help="bearer token")
    target.add_argument("--tls-ca", metavar="FILE", help="speak TLS, trusting these roots (PEM)")
    target.add_argument("--tls-cert", metavar="FILE", help="this client's certificate (PEM)")
    target.add_argument("--tls-key", metavar="FILE", help="the key of --tls-cert (PEM)")
    target.add_argument("--metrics-url", default="", metavar="URL", help="the gateway's /metrics, for batch sizes")


def add_call_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how a call looks and who sends it."""
    calls = parser.add_argument_group("calls")
    calls.add_argument(
        "--deadline-ms", default="", metavar="MS[:SHARE],...", help="one deadline, or several with their shares"
    )
    calls.add_argument(
        "--sizes", default="1600x1600", metavar="WxH[:SHARE],...", help="generated photos (default: %(default)s)"
    )
    calls.add_argument("--photos", default="", metavar="FOLDER", help="the photos of a folder instead")
    calls.add_argument("--seed", type=int, default=1, help="of arrivals, choices and generated photos (default: 1)")
    calls.add_argument("--processes", type=int, default=1, metavar="N", help="sending processes (default: 1)")
    calls.add_argument("--connections", type=int, default=4, metavar="N", help="connections a process (default: 4)")


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the report goes."""
    report = parser.add_argument_group("report")
    report.add_argument("--label", default="", help="the run's name in reports")
    report.add_argument("--json", metavar="FILE", help="write the report as JSON")
    report.add_argument("--html", metavar="FILE", help="write the report as one page")
    report.add_argument("-q", "--quiet", action="store_true", help="no live view")


def read_plan(arguments: argparse.Namespace, load: Load | None = None) -> Plan:
    """Make the plan; `load` stands in for the arguments of a load where a command has none.

    Raises:
        UsageError: An argument cannot be read.
        ValueError: Something is out of its range.
        OSError: The trace cannot be read.
    """
    return Plan(
        target=_target(arguments),
        load=load or _load(arguments),
        deadlines=_listed(arguments.deadline_ms, _deadline, "--deadline-ms") or (DeadlineClass(None),),
        photos=Photos(_listed(arguments.sizes, _size, "--sizes"), arguments.photos),
        label=arguments.label,
        warmup_s=getattr(arguments, "warmup", 0.0),
        settle_s=getattr(arguments, "settle", 0.0),
        seed=arguments.seed,
        processes=arguments.processes,
        connections=arguments.connections,
        metrics_url=arguments.metrics_url,
    )


def _target(arguments: argparse.Namespace) -> Target:
    tls = None
    if arguments.tls_ca or arguments.tls_cert or arguments.tls_key:
        tls = Tls(arguments.tls_ca, arguments.tls_cert, arguments.tls_key)
    address = arguments.address
    if arguments.target == "gateway":
        return GatewayTarget(
            address=address or GatewayTarget().address,
            model=arguments.model or "",
            output=arguments.output,
            mime_type=f"image/{arguments.format}",
            token=arguments.token,
            tls=tls,
        )
    if arguments.target == "tensors":
        name, datatype, shape = _tensor(arguments.tensor)
        margin_ms = arguments.queue_timeout_margin_ms
        return TensorTarget(
            address=address or TensorTarget().address,
            model=arguments.model or "u2net",
            input_name=name,
            datatype=datatype,
            shape=shape,
            queue_timeout_margin_s=None if margin_ms is None else margin_ms / 1e3,
            token=arguments.token,
            tls=tls,
        )
    url = RembgTarget().url if not address else address if "://" in address else f"http://{address}"
    return RembgTarget(url=url, model=arguments.model or "u2net", only_mask=arguments.output == "alpha")


def _load(arguments: argparse.Namespace) -> Load:
    process: Process = "constant" if arguments.constant else "poisson"
    if arguments.callers is not None:
        return ClosedLoop(arguments.callers, arguments.duration)
    if arguments.trace is not None:
        return Replay(tuple(read_trace(Path(arguments.trace), arguments.speed).tolist()))
    if arguments.rate is not None:
        return OpenLoop(steady(arguments.rate, arguments.duration), process)
    if arguments.ramp is not None:
        start, end = _numbers(arguments.ramp, ":", 2, "--ramp FROM:TO")
        return OpenLoop(ramp(start, end, arguments.duration), process)
    if arguments.steps is not None:
        return OpenLoop(steps(_numbers(arguments.steps, ",", None, "--steps R,R,..."), arguments.duration), process)
    rate, on_s, off_s = _numbers(arguments.bursts, ":", 3, "--bursts R:ON_S:OFF_S")
    return OpenLoop(bursts(rate, on_s, off_s, arguments.duration), process)


def _numbers(text: str, separator: str, count: int | None, form: str) -> Sequence[float]:
    try:
        numbers = [float(part) for part in text.split(separator)]
    except ValueError as error:
        raise UsageError(f"{text!r} is not of the form {form}") from error
    if count is not None and len(numbers) != count:
        raise UsageError(f"{text!r} is not of the form {form}")
    return numbers


def _listed(text: str, read: Callable[[str, float], Value], option: str) -> tuple[Value, ...]:
    """Read `VALUE[:SHARE],...`."""
    values: list[Value] = []
    for part in filter(None, text.split(",")):
        value, _, share = part.strip().partition(":")
        try:
            values.append(read(value, float(share or 1.0)))
        except ValueError as error:
            raise UsageError(f"{option}: cannot read {part!r} ({error})") from error
    return tuple(values)


def _deadline(text: str, share: float) -> DeadlineClass:
    return DeadlineClass(float(text) / 1e3, share)


def _size(text: str, share: float) -> PhotoSize:
    width, _, height = text.partition("x")
    return PhotoSize(int(width), int(height), share)


def _tensor(text: str) -> tuple[str, str, tuple[int, ...]]:
    try:
        name, datatype, shape = text.split(":")
        return name, datatype.upper(), tuple(int(part) for part in shape.split("x"))
    except ValueError as error:
        raise UsageError(f"--tensor: {text!r} is not of the form NAME:TYPE:SHAPE") from error
