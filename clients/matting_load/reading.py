# SPDX-License-Identifier: Apache-2.0
"""What a command line of `matting-load` asks for, as a plan, checked."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from matting_client import Tls
from matting_client.program.parsing import UsageError

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
    split_addresses,
)
from matting_load.reports.analysis import row_names
from matting_load.reports.naming import named
from matting_load.reports.report import Report, read_report
from matting_load.reports.thresholds import Threshold, read_threshold
from matting_load.search import Search, Slo

Value = TypeVar("Value")


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


def read_thresholds(texts: Sequence[str], plan: Plan) -> Sequence[Threshold]:
    """Read the conditions of `--fail-if` for the report that a plan will have.

    Raises:
        UsageError: One is of another form, or there is no such figure.
    """
    try:
        return [read_threshold(text, row_names(plan)) for text in texts]
    except ValueError as error:
        raise UsageError(f"--fail-if {error}") from error


def check_writable(*paths: str | None) -> None:
    """Find out before a test, and not after it, that a report could not be written.

    Raises:
        UsageError: The folder is not there, or what is there is no file.
        OSError: It may not be written.
    """
    for path in filter(None, paths):
        if Path(path).is_dir():
            raise UsageError(f"{path} is a folder: name a file in it")
        if not Path(path).parent.is_dir():
            raise UsageError(f"{path} cannot be written: there is no folder {Path(path).parent}")
        writable = path if Path(path).exists() else Path(path).parent
        if not os.access(writable, os.W_OK):
            raise PermissionError(f"{path} cannot be written: you have no right to")


def read_reports(paths: Sequence[str]) -> list[Report]:
    """Read reports, under names that tell them apart.

    Raises:
        ValueError: A file is no report.
        OSError: A file cannot be read.
    """
    return named([read_report(path) for path in paths], [Path(path).stem for path in paths])


def _token(text: str) -> str:
    if not text.startswith("@"):
        return text
    token = Path(text[1:]).read_text(encoding="utf-8").strip()
    if not token:
        raise UsageError(f"--token: {text[1:]} is empty")
    return token


def _target(arguments: argparse.Namespace) -> Target:
    tls = None
    if any((arguments.tls, arguments.tls_ca, arguments.tls_cert, arguments.tls_key, arguments.tls_server_name)):
        tls = Tls(arguments.tls_ca, arguments.tls_cert, arguments.tls_key, arguments.tls_server_name)
    address = ",".join(arguments.address or ())
    token = _token(arguments.token)
    if arguments.target == "gateway":
        return GatewayTarget(
            address=address or GatewayTarget().address,
            model=arguments.model or "",
            output=arguments.output,
            mime_type=f"image/{arguments.format}",
            token=token,
            tls=tls,
            token_over_plaintext=arguments.token_over_plaintext,
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
            token=token,
            tls=tls,
            token_over_plaintext=arguments.token_over_plaintext,
        )
    urls = [each if "://" in each else f"http://{each}" for each in split_addresses(address)]
    return RembgTarget(
        url=",".join(urls) or RembgTarget().url, model=arguments.model or "u2net", only_mask=arguments.output == "alpha"
    )


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
    if arguments.bursts is None:
        raise UsageError(
            "one of the arguments --callers, --rate, --ramp, --steps, --bursts, --trace says how calls come"
        )
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
        sides = tuple(int(part) for part in shape.split("x"))
    except ValueError as error:
        raise UsageError(f"--tensor: {text!r} is not of the form NAME:TYPE:SHAPE") from error
    if min(sides) < 1:
        raise UsageError(f"--tensor: {text!r}: every side of a shape is 1 at the least")
    return name, datatype.upper(), sides
