# SPDX-License-Identifier: Apache-2.0
"""Overwriting memory that is free but will be used again: by what comes next, or by zeros once it has rested.

To overwrite it each time costs as much as to fill it. Under load the next photo does so within milliseconds,
and what nothing overwrites for two ticks is overwritten with zeros.
"""

import asyncio
import ctypes
import mmap
from collections.abc import Callable

TICK_S = 0.1

Later = Callable[[float, Callable[[], None]], object]


class IdleMemoryWiper:
    """Tells when memory has rested.

    Owns one timer; touched on the event loop only. Invariant: after `note_in_use` the tick goes on
    until `sweep` says that nothing is left to overwrite.

    Args:
        sweep: Overwrites what was free at the tick before the last already; returns whether there is anything
            that may have to be overwritten later.
        later: Has something done after so many seconds.
    """

    def __init__(self, sweep: Callable[[], bool], *, later: Later | None = None) -> None:
        self._sweep = sweep
        self._later = later or _on_the_loop
        self._ticking = False
        self.tick = 0

    def note_in_use(self) -> None:
        """Note that memory is in use, and has to be looked at once it is free."""
        if not self._ticking:
            self._ticking = True
            self._later(TICK_S, self._tick)

    def rested(self, since_tick: int) -> bool:
        """Whether what has been free since then has rested."""
        return self.tick - since_tick >= 2

    def _tick(self) -> None:
        self.tick += 1
        self._ticking = False
        if self._sweep():
            self.note_in_use()

    def __repr__(self) -> str:
        return f"<IdleMemoryWiper{' ticking' if self._ticking else ''}>"


def wipe(memory: bytearray | mmap.mmap, start: int, end: int) -> None:
    """Overwrite the bytes from `start` to `end` with zeros; nothing where `end` is not beyond `start`."""
    if start < end:
        ctypes.memset((ctypes.c_char * (end - start)).from_buffer(memory, start), 0, end - start)


def _on_the_loop(seconds: float, act: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, act)
