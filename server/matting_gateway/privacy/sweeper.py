# SPDX-License-Identifier: Apache-2.0
"""Drops what calls leave behind in reference cycles, and tells when there is nobody left to serve.

CPython frees most objects with their last reference, and glibc overwrites them then. What is in a
cycle (an exception and the frames that it came through, which hold the request) waits for a
garbage collection, and on an idle server that may be for ever. So one follows calls closely.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

SWEEP_AFTER_S = 0.25
IDLE_AFTER_S = 0.35


@dataclass(frozen=True, slots=True)
class SweeperStatistics:
    """Sweeps made, cyclic objects they freed, and times that idleness was told of."""

    sweep_count: int
    freed_count: int
    idle_count: int


class Sweeper:
    """Sweeps soon after calls end, and calls `on_idle` once they have all ended for a while.

    Owns two timers and the task of `on_idle`; touched on the event loop only. Invariants: after
    the last call has ended, a sweep follows within 0.25 s and one call of `on_idle` within 0.35 s;
    under load there are no more than four sweeps a second, and `on_idle` is not called.

    Args:
        call_count: How many calls are in progress.
        on_idle: What else to do when there is nobody to serve; None for nothing.
    """

    def __init__(self, *, call_count: Callable[[], int], on_idle: Callable[[], Awaitable[None]] | None = None) -> None:
        self._call_count = call_count
        self._on_idle = on_idle
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._statistics = SweeperStatistics(0, 0, 0)

    def start(self) -> None:
        """Take everything that exists now out of what later collections look at: they become short."""
        gc.collect()
        gc.freeze()

    async def close(self) -> None:
        """Stop, and give up on an `on_idle` in progress."""
        for timer in (self._sweep_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        gc.unfreeze()

    def call_ended(self) -> None:
        """Note that a call has ended. Cheap: it sets timers."""
        loop = asyncio.get_running_loop()
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_later(SWEEP_AFTER_S, self._sweep)
        if self._on_idle is not None and self._call_count() == 0:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            self._idle_timer = loop.call_later(IDLE_AFTER_S, self._check_idle)

    def statistics(self) -> SweeperStatistics:
        return self._statistics

    def __repr__(self) -> str:
        s = self._statistics
        return f"<Sweeper {s.sweep_count} sweeps, {s.freed_count} objects freed, {s.idle_count} times idle>"

    def _sweep(self) -> None:
        self._sweep_timer = None
        s = self._statistics
        self._statistics = SweeperStatistics(s.sweep_count + 1, s.freed_count + gc.collect(), s.idle_count)

    def _check_idle(self) -> None:
        self._idle_timer = None
        busy = self._task is not None and not self._task.done()
        if self._on_idle is None or busy or self._call_count() > 0:
            return
        s = self._statistics
        self._statistics = SweeperStatistics(s.sweep_count, s.freed_count, s.idle_count + 1)
        self._task = asyncio.ensure_future(self._on_idle())
