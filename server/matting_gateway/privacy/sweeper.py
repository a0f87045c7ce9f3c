# SPDX-License-Identifier: Apache-2.0
"""Drops what calls leave behind in reference cycles.

CPython frees most objects with their last reference, and glibc overwrites them then. What is in a
cycle (an exception and the frames that it came through, which hold the request) waits for a
garbage collection, and on an idle server that may be for ever. So one follows calls closely.
"""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass

from matting_gateway.privacy.heap import give_back_free_memory

# A sweep looks at all that came into being since the start: with thousands of calls open it takes tens of milliseconds,
# in which nobody is served, and must then come less often; but within the second that is promised.
SWEEP_AFTER_S = 0.25
LATEST_SWEEP_S = 0.75
_LARGEST_SHARE = 0.05
# Between sweeps the collector looks at new objects by itself, each time they are so many more. CPython's 700 are those
# of a hundred calls or so: such looks took one to two times as long as the sweeps, and longer with traces that wait.
_YOUNG_COUNT = 10_000


@dataclass(frozen=True, slots=True)
class SweeperStatistics:
    """Sweeps made, and cyclic objects they freed."""

    sweep_count: int
    freed_count: int


class Sweeper:
    """Sweeps soon after calls end.

    Owns one timer, and how often the collector looks by itself; touched on the event loop only. Invariants: after a
    call has ended, a sweep follows within 0.25 s, or within 0.75 s where sweeps would take more than 5% of the time;
    there are no more than four sweeps a second.

    Args:
        now: Tells the time, in seconds.
        collect: Frees what is in cycles, and returns how many objects those were.
        trim: Gives memory that is free back to the system; called in a thread.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        collect: Callable[[], int] = gc.collect,
        trim: Callable[[], object] = give_back_free_memory,
    ) -> None:
        self._now = now
        self._collect = collect
        self._trim = trim
        self._trims = False  # whether the next sweep gives memory back
        self._after_s = SWEEP_AFTER_S
        self._timer: asyncio.TimerHandle | None = None
        self._statistics = SweeperStatistics(0, 0)
        self._thresholds_before = gc.get_threshold()

    def start(self) -> None:
        """Take everything that exists now out of what later collections look at: they become short, and rare."""
        gc.collect()
        gc.freeze()
        self._thresholds_before = gc.get_threshold()
        gc.set_threshold(_YOUNG_COUNT, *self._thresholds_before[1:])

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
        gc.unfreeze()
        gc.set_threshold(*self._thresholds_before)

    def call_ended(self) -> None:
        """Note that a call has ended. Cheap: it sets a timer."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self._sweep)

    def much_is_free(self) -> None:
        """Note that much memory has come free, which nobody may need for long: the next sweep gives it back."""
        self._trims = True
        self.call_ended()

    def statistics(self) -> SweeperStatistics:
        return self._statistics

    def __repr__(self) -> str:
        s = self._statistics
        return f"<Sweeper {s.sweep_count} sweeps, {s.freed_count} objects freed>"

    def _sweep(self) -> None:
        self._timer = None
        since_s = self._now()
        freed_count = self._collect()
        took_s = self._now() - since_s
        self._after_s = min(LATEST_SWEEP_S, max(SWEEP_AFTER_S, took_s / _LARGEST_SHARE))
        s = self._statistics
        self._statistics = SweeperStatistics(s.sweep_count + 1, s.freed_count + freed_count)
        if self._trims:
            self._trims = False
            asyncio.get_running_loop().run_in_executor(None, self._trim)
