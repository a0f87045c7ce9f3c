# SPDX-License-Identifier: Apache-2.0
"""Waiting for an instant more precisely than asyncio does.

asyncio waits whole milliseconds (it rounds its poll timeout up), so that calls would be sent up
to a millisecond late, and spinning through the last one takes the processor from a server on the
same machine. On Linux a timer of the kernel (`timerfd_create(2)`, in the standard library from
Python 3.13) wakes the loop within tens of microseconds; elsewhere asyncio's own sleep has to do.
"""

import asyncio
import ctypes
import os
import sys
import time
from typing import Self, TypeAlias

_TFD_TIMER_ABSTIME = 1


class SleepPacer:
    """Waits by `asyncio.sleep`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Nothing to give back."""

    async def until(self, instant_s: float) -> None:
        left_s = instant_s - time.monotonic()
        if left_s > 0:
            await asyncio.sleep(left_s)


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class TimerPacer:
    """Waits by a timer of the kernel. Owns its descriptor; one wait at a time, on one event loop."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = -1
        self._waiter: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._descriptor = self._checked(self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._loop.add_reader(self._descriptor, self._fired)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._loop = None

    async def until(self, instant_s: float) -> None:
        if self._loop is None:
            raise RuntimeError("enter the pacer first")
        if instant_s <= time.monotonic():
            return
        seconds = int(instant_s)
        spec = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(seconds, int((instant_s - seconds) * 1e9)))
        self._waiter = self._loop.create_future()
        self._checked(self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None))
        await self._waiter

    def _fired(self) -> None:
        os.read(self._descriptor, 8)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


# The two wait on the monotonic clock.
Pacer: TypeAlias = SleepPacer | TimerPacer


def make_pacer() -> Pacer:
    """Make the most precise pacer that this machine has."""
    return TimerPacer() if sys.platform == "linux" else SleepPacer()
