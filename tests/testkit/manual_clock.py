# SPDX-License-Identifier: Apache-2.0
"""A clock that a test moves by hand."""


class ManualClock:
    """Stands still at `now_s` until told to advance."""

    def __init__(self, now_s: float = 1000.0, wall_s: float = 1_700_000_000.0) -> None:
        self.now_s = now_s
        self.wall_s = wall_s

    def now(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.wall_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_s += seconds
