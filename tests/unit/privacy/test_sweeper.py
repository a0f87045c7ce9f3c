# SPDX-License-Identifier: Apache-2.0
"""What is left in reference cycles is swept soon after calls end, and sweeping takes a bounded part of the time."""

import asyncio
import gc

import pytest
from matting_gateway.privacy.heap import give_back_free_memory
from matting_gateway.privacy.sweeper import Sweeper
from testkit.manual_clock import ManualClock


class Sweeps:
    """Counts the sweeps, each of which takes `took_s` of the clock's time; `happened` tells of the next."""

    def __init__(self, took_s: float) -> None:
        self.clock = ManualClock()
        self.count = 0
        self.happened = asyncio.Event()
        self._took_s = took_s

    def collect(self) -> int:
        self.count += 1
        self.clock.advance(self._took_s)
        self.happened.set()
        return 3

    async def wait(self) -> None:
        async with asyncio.timeout(5):
            await self.happened.wait()
        self.happened.clear()


async def test_many_calls_that_end_together_are_swept_after_once() -> None:
    sweeps = Sweeps(0.001)
    sweeper = Sweeper(now=sweeps.clock.now, collect=sweeps.collect)
    for _ in range(100):
        sweeper.call_ended()
    await sweeps.wait()
    assert (sweeper.statistics().sweep_count, sweeper.statistics().freed_count) == (1, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("took_s", "pause_s"), [(0.001, 0.25), (0.02, 0.4), (1.0, 0.75)])
async def test_sweeps_that_take_long_come_less_often_but_within_the_second(took_s: float, pause_s: float) -> None:
    sweeps = Sweeps(took_s)
    sweeper = Sweeper(now=sweeps.clock.now, collect=sweeps.collect)
    sweeper.call_ended()
    await sweeps.wait()
    loop = asyncio.get_running_loop()
    since_s = loop.time()
    sweeper.call_ended()
    await sweeps.wait()
    assert loop.time() - since_s >= pause_s - 0.01  # never sooner; how much later is the machine's affair


@pytest.mark.slow
async def test_memory_is_given_back_with_the_next_sweep_once_much_of_it_is_free_and_not_else() -> None:
    sweeps, trimmed = Sweeps(0.001), asyncio.Event()
    loop = asyncio.get_running_loop()
    sweeper = Sweeper(now=sweeps.clock.now, collect=sweeps.collect, trim=lambda: loop.call_soon_threadsafe(trimmed.set))
    sweeper.call_ended()
    await sweeps.wait()
    assert not trimmed.is_set()
    sweeper.much_is_free()
    async with asyncio.timeout(5):
        await trimmed.wait()


def test_the_heap_can_be_told_to_give_free_memory_back() -> None:
    give_back_free_memory()


def test_while_it_sweeps_the_collector_looks_by_itself_less_often_and_afterwards_as_before() -> None:
    before = gc.get_threshold()
    sweeper = Sweeper(now=ManualClock().now)
    sweeper.start()
    try:
        assert gc.get_threshold() == (10_000, *before[1:])
    finally:
        sweeper.close()
    assert gc.get_threshold() == before
