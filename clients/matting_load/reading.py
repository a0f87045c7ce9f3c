# SPDX-License-Identifier: Apache-2.0
"""What a command line of `matting-load` asks for, as a plan, checked."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from click import UsageError
from matting_client import Tls
from matting_client.formats import media_type

from matting_load.arrivals import Process, bursts, ramp, read_trace, steady, steps
from matting_load.plan import (
    ClosedLoop,
    DeadlineClass,
    GatewayTarget,
    Load,
    OpenLoop,
    Photos,
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


def read_search(given: Mapping[str, Any]) -> tuple[Slo, Search]:
    """Make the SLO and the search.

    Raises:
        ValueError: Something is out of its range.
    """
    how = Search(
        low_per_s=given["low"],
        high_per_s=given["high"],
        trial_s=given["trial"],
        warmup_s=given["warmup"],
        tolerance=given["tolerance"],
        process=_process(given),
    )
    return Slo(given["good_share"], None if given["p99_ms"] is None else given["p99_ms"] / 1e3), how


def read_plan(given: Mapping[str, Any], load: Load | None = None) -> Plan:
    """Make the plan of what was given; `load` stands in for the options of a load where a command has none.

    Raises:
        ValueError: Something is out of its range.
        OSError: The trace cannot be read.
    """
    return Plan(
        target=_target(given),
        load=load or _load(given),
        deadlines=given["deadlines"] or (DeadlineClass(None),),
        photos=Photos(given["sizes"], given["photos"]),
        label=given["label"],
        warmup_s=given["warmup"],
        settle_s=given.get("settle", 0.0),
        seed=given["seed"],
        processes=given["processes"],
        connections=given["connections"],
        metrics_url=given["metrics_url"],
    )


def read_thresholds(texts: Sequence[str], plan: Plan) -> Sequence[Threshold]:
    """Read the conditions of `--fail-if` for the report that a plan will have.

    Raises:
        ValueError: One is of another form, or there is no such figure.
    """
    try:
        return [read_threshold(text, row_names(plan)) for text in texts]
    except ValueError as error:
        raise ValueError(f"--fail-if {error}") from error


def check_writable(*paths: str | None) -> None:
    """Find out before a test, and not after it, that a report could not be written.

    Raises:
        ValueError: The folder is not there, or what is there is no file.
        OSError: It may not be written.
    """
    for path in filter(None, paths):
        if Path(path).is_dir():
            raise ValueError(f"{path} is a folder: name a file in it")
        if not Path(path).parent.is_dir():
            raise ValueError(f"{path} cannot be written: there is no folder {Path(path).parent}")
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


def _target(given: Mapping[str, Any]) -> Target:
    files = [given[name] for name in ("tls_ca", "tls_cert", "tls_key", "tls_server_name")]
    address, model = ",".join(given["address"]), given["model"]
    if given["target"] == "rembg":
        urls = [each if "://" in each else f"http://{each}" for each in split_addresses(address)]
        only_mask = given["output"] == "alpha"
        return RembgTarget(url=",".join(urls) or RembgTarget().url, model=model or "u2net", only_mask=only_mask)
    secured = {
        "token": given["token"],
        "tls": Tls(*files) if given["tls"] or any(files) else None,
        "token_over_plaintext": given["token_over_plaintext"],
    }
    if given["target"] == "gateway":
        address, mime_type = address or GatewayTarget().address, media_type(given["file_format"])
        return GatewayTarget(address=address, model=model, output=given["output"], mime_type=mime_type, **secured)
    name, datatype, shape = given["tensor"]
    margin_ms = given["queue_timeout_margin_ms"]
    return TensorTarget(
        address=address or TensorTarget().address,
        model=model or "u2net",
        input_name=name,
        datatype=datatype,
        shape=shape,
        queue_timeout_margin_s=None if margin_ms is None else margin_ms / 1e3,
        **secured,
    )


def _process(given: Mapping[str, Any]) -> Process:
    return "constant" if given["constant"] else "poisson"


def _load(given: Mapping[str, Any]) -> Load:
    duration_s, process = given["duration"], _process(given)
    loads: Mapping[str, Callable[[Any], Load]] = {
        "callers": lambda count: ClosedLoop(count, duration_s),
        "rate": lambda rate: OpenLoop(steady(rate, duration_s), process),
        "ramp": lambda ends: OpenLoop(ramp(ends[0], ends[1], duration_s), process),
        "steps": lambda rates: OpenLoop(steps(rates, duration_s), process),
        "bursts": lambda each: OpenLoop(bursts(each[0], each[1], each[2], duration_s), process),
        "trace": lambda path: Replay(tuple(read_trace(Path(path), given["speed"]).tolist())),
    }
    chosen = [name for name in loads if given[name] is not None]
    if not chosen:
        raise ValueError(f"one of the arguments {', '.join(f'--{name}' for name in loads)} says how calls come")
    if len(chosen) > 1:
        raise UsageError(f"argument --{chosen[1]}: not allowed with argument --{chosen[0]}")
    return loads[chosen[0]](given[chosen[0]])
