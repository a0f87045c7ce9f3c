# SPDX-License-Identifier: Apache-2.0
"""How long each step of an event loop takes of its thread's processor time."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from matting_gateway.privacy.sweeper import Sweeper

# What `slowness` takes there.
_USUAL_S = 0.0007


@dataclass
class LoopWatch:
    """The longest step so far, in seconds of processor time, and what it was. The sweeper's own are left out."""

    longest_s: float = 0.0
    step: str = ""
    steps: int = field(default=0)

    def note(self, seconds: float, handle: asyncio.Handle) -> None:
        self.steps += 1
        if seconds > self.longest_s and not _is_sweep(handle):
            self.longest_s, self.step = seconds, repr(handle)[:300]

    def start_again(self) -> None:
        self.longest_s, self.step = 0.0, ""


def _is_sweep(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), Sweeper)


def slowness() -> float:
    """Return how much slower this thread is now than on a core of 2022 that has nothing else to do; at least 1.

    A core whose other half works for somebody else takes nearly twice the processor time for the same.
    """
    since_s = time.thread_time()
    total = 0
    for number in range(20_000):
        total += number & 7
    return max(1.0, (time.thread_time() - since_s) / _USUAL_S)


@contextmanager
def watching_loop() -> Iterator[LoopWatch]:
    """Watch every step of asyncio's own event loops until the end of the block."""
    watch = LoopWatch()
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        since_s = time.thread_time()
        run(handle)
        watch.note(time.thread_time() - since_s, handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        yield watch
