# SPDX-License-Identifier: Apache-2.0
"""What a load test found, as values that go to JSON and back."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

FORM = 1


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from when a call was due."""

    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    p999_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many calls ended in one way, how soon their callers knew, and a few of the server's messages."""

    name: str
    count: int
    share: float
    p50_s: float
    p99_s: float
    max_s: float
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a stretch of the test, or of one deadline class.

    `throughput_per_s` counts answers, `goodput_per_s` those by their deadline; `latency` is of
    all answers, None where there was none.
    """

    name: str
    duration_s: float
    offered_count: int
    offered_per_s: float
    throughput_per_s: float
    goodput_per_s: float
    good_share: float
    latency: Latency | None
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The test over time: one entry a bucket of `bucket_s`, starting at `start_s`."""

    bucket_s: float
    start_s: tuple[float, ...]
    offered_per_s: tuple[float, ...]
    throughput_per_s: tuple[float, ...]
    goodput_per_s: tuple[float, ...]
    p50_s: tuple[float | None, ...]
    p99_s: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Generator:
    """How well the load was generated.

    `lag_*` is how late calls were sent. `cpu_share` is processor time over wall time of a sending
    process, 1.0 being a full core: near it the generator, not the server, may be what is measured.
    """

    processes: int
    lag_p50_s: float
    lag_p99_s: float
    lag_max_s: float
    cpu_share: float
    cpu_per_call_s: float

    @property
    def suspect(self) -> str:
        """Why the figures may be the generator's own; empty where nothing speaks for it."""
        if self.cpu_share > 0.85:
            return f"the generator used {self.cpu_share:.0%} of a core a process: take more --processes"
        if self.lag_p99_s > 0.010:
            return (
                f"calls were sent late (p99 {self.lag_p99_s * 1e3:.0f} ms): take more --processes, or a freer machine"
            )
        return ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether what was asked of a test held, and what was found."""

    asked: str
    held: bool
    found: str

    @property
    def word(self) -> str:
        return "passed" if self.held else "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """A finished load test, or a search: then `total` is of the best rate, and each step is a rate tried."""

    label: str
    target: str
    load: str
    started: str
    plan: Mapping[str, Any]
    environment: Mapping[str, str]
    total: Summary
    classes: tuple[Summary, ...]
    steps: tuple[Summary, ...]
    series: Series
    latency_quantiles: tuple[float, ...]
    latency_cdf_s: tuple[float, ...]
    generator: Generator
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    batch_size_mean: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    searched: bool = False
    interrupted: bool = False
    form: int = FORM

    def called(self, label: str) -> "Report":
        """Return it under another name."""
        return dataclasses.replace(self, label=label)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")


def read_report(path: str | Path) -> Report:
    """Read a report back.

    Raises:
        ValueError: The file is no report, or one of another form.
        OSError: The file cannot be read.
    """
    try:
        return report_from(json.loads(Path(path).read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no report of matting-load: {error}") from error


def report_from(data: Any) -> Report:
    """Build a report of what `json` made of one.

    Raises:
        ValueError: It is of another form, or a value is not what it has to be.
        KeyError, TypeError: A field is missing, or is none of a report.
    """
    if data["form"] != FORM:
        raise ValueError(f"form {data['form']}, this program reads form {FORM}")
    report: Report = _typed(Report, data, "report")
    return report


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return a value of JSON as what a field's annotation says; a list becomes a tuple, an object a dataclass."""
    if kind is Any:
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _typed(parts[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(parts[0], each, where) for each in value)
    if isinstance(value, dict):
        if origin is Mapping:
            return {name: _typed(parts[1], each, f"{where}.{name}") for name, each in value.items()}
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            kinds = get_type_hints(kind)
            return kind(**{name: _typed(kinds[name], each, f"{where}.{name}") for name, each in value.items()})
    if type(value) in ((int, float) if kind is float else (kind,)) and (kind is not float or math.isfinite(value)):
        return value
    raise ValueError(f"{where} cannot be {str(value)[:60]!r}")
