# SPDX-License-Identifier: Apache-2.0
"""Drops what calls leave behind in reference cycles.

CPython frees most objects with their last reference, and glibc overwrites them then. What is in a
cycle (an exception and the frames that it came through, which hold the request) waits for a
garbage collection, and on an idle server that may be for ever. So one follows calls closely.
"""

import asyncio
import gc
from dataclasses import dataclass

SWEEP_AFTER_S = 0.25


@dataclass(frozen=True, slots=True)
class SweeperStatistics:
    """Sweeps made, and cyclic objects they freed."""

    sweep_count: int
    freed_count: int


class Sweeper:
    """Sweeps soon after calls end.

    Owns one timer; touched on the event loop only. Invariants: after a call has ended, a sweep
    follows within 0.25 s; there are no more than four sweeps a second.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._statistics = SweeperStatistics(0, 0)

    def start(self) -> None:
        """Take everything that exists now out of what later collections look at: they become short."""
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
        gc.unfreeze()

    def call_ended(self) -> None:
        """Note that a call has ended. Cheap: it sets a timer."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_AFTER_S, self._sweep)

    def statistics(self) -> SweeperStatistics:
        return self._statistics

    def __repr__(self) -> str:
        s = self._statistics
        return f"<Sweeper {s.sweep_count} sweeps, {s.freed_count} objects freed>"

    def _sweep(self) -> None:
        self._timer = None
        s = self._statistics
        self._statistics = SweeperStatistics(s.sweep_count + 1, s.freed_count + gc.collect())
