# SPDX-License-Identifier: Apache-2.0
"""What can be set about traces."""

from dataclasses import dataclass
from importlib.util import find_spec

from matting_gateway.options import not_below_zero, option

_NEEDED = ("opentelemetry.proto.collector", "opentelemetry.sdk")


def _zero_to_one(value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"must be 0 to 1, not {value}")


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go, and of which calls. No `endpoint`: of none.

    `sample_ratio` is the share of calls that are traced, 0 to 1; `asked_per_s` how many a second are beyond that
    because their callers say so, 0 where what callers say does not count.
    """

    endpoint: str = option("", "--otlp-endpoint", "Address of the OpenTelemetry collector that gets traces.")
    sample_ratio: float = option(
        1.0, "--trace-sample-ratio", "Share of calls that are traced, 0 to 1.", check=_zero_to_one
    )
    asked_per_s: float = option(
        100.0,
        "--trace-asked-per-s",
        "Calls a second traced beyond that because their callers ask; 0: what callers say does not count.",
        check=not_below_zero,
    )


def missing_packages() -> bool:
    """Whether what sends spans is not installed."""
    try:
        return any(find_spec(name) is None for name in _NEEDED)
    except ModuleNotFoundError:
        return True
