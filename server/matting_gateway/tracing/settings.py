# SPDX-License-Identifier: Apache-2.0
"""What can be set about traces."""

from dataclasses import dataclass
from importlib.util import find_spec

_NEEDED = ("opentelemetry.proto.collector", "opentelemetry.sdk")


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go, and of which calls. No `endpoint`: of none.

    `sample_ratio` is the share of calls that are traced, 0 to 1; `asked_per_s` how many a second are beyond that
    because their callers say so, 0 where what callers say does not count.
    """

    endpoint: str = ""
    sample_ratio: float = 1.0
    asked_per_s: float = 100.0


def missing_packages() -> bool:
    """Whether what sends spans is not installed."""
    try:
        return any(find_spec(name) is None for name in _NEEDED)
    except ModuleNotFoundError:
        return True
