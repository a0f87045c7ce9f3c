# SPDX-License-Identifier: Apache-2.0
"""The only clock of the gateway. Everything that needs time is given one."""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time; tests pass one that they move by hand."""

    def now(self) -> float:
        """Return monotonic seconds: for deadlines and durations."""

    def wall(self) -> float:
        """Return seconds since the Unix epoch: for log lines only."""


class SystemClock:
    """The machine's own clock."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
