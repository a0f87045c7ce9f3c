# SPDX-License-Identifier: Apache-2.0
"""Who holds memory for a message that does not come gives way to those who wait, in good time and not before."""

import asyncio
from dataclasses import dataclass

import pytest
from matting_gateway.admission.gate import Gate
from matting_gateway.admission.settings import GateSettings
from matting_gateway.admission.slow_sender_eviction import good_time_s, pace_s, sending_time_s
from matting_gateway.clock import SystemClock
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry
from testkit.manual_clock import ManualClock

MIB = 1 << 20


def gate_at(clock: ManualClock | SystemClock, **settings: float) -> Gate:
    return Gate(GateSettings(**settings), clock=clock, metrics=Metrics(CollectorRegistry()))  # type: ignore[arg-type]  # counts are whole in every call below


@pytest.mark.parametrize(("message_bytes", "seconds"), [(0, 1), (1000, 1), (MIB, 2), (3 * MIB, 4), (64 * MIB, 5)])
def test_a_larger_message_may_take_longer_up_to_a_bound(message_bytes: int, seconds: int) -> None:
    assert good_time_s(message_bytes) == seconds


async def test_nobody_gives_way_while_nobody_waits() -> None:
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100)
    asked: list[str] = []
    with await gate.acquire(60, deadline_s=99) as permit, permit.awaiting(10, lambda: asked.append("silent")):
        clock.advance(50)
        (await gate.acquire(40, deadline_s=99)).release()
    assert not asked


async def test_the_silent_one_makes_room_at_once_when_its_time_is_over() -> None:
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100)
    silent = await gate.acquire(60, deadline_s=99)
    with silent.awaiting(10, silent.release):
        clock.advance(1.5)
        async with asyncio.timeout(5):
            permit = await gate.acquire(80, deadline_s=99)
    assert silent.released
    permit.release()


@pytest.mark.slow
async def test_who_is_in_good_time_is_left_alone_and_looked_at_again() -> None:
    """By the real clock: the timer is the gate's own."""
    clock = SystemClock()
    gate = gate_at(clock, budget_bytes=100)
    silent = await gate.acquire(60, deadline_s=clock.now() + 99)
    since_s = clock.now()
    with silent.awaiting(10, silent.release):
        async with asyncio.timeout(20):
            permit = await gate.acquire(80, deadline_s=clock.now() + 99)
    assert clock.now() - since_s >= 1
    permit.release()


async def test_who_was_silent_longest_goes_first_and_no_more_go_than_are_needed() -> None:
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100)
    first, second = await gate.acquire(50, deadline_s=99), await gate.acquire(50, deadline_s=99)
    with first.awaiting(10, first.release):
        clock.advance(0.5)
        with second.awaiting(10, second.release):
            clock.advance(5)
            (await gate.acquire(50, deadline_s=99)).release()
            assert (first.released, second.released) == (True, False)
    second.release()


async def test_one_whose_message_came_does_not_give_way() -> None:
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100)
    asked: list[str] = []
    permit = await gate.acquire(60, deadline_s=99)
    with permit.awaiting(10, lambda: asked.append("it was here already")):
        pass
    clock.advance(50)
    waiting = asyncio.create_task(gate.acquire(80, deadline_s=99))
    while not gate.statistics().waiting_count:  # noqa: ASYNC110 - gives way until the task has come so far
        await asyncio.sleep(0)
    assert not asked
    permit.release()
    (await waiting).release()


async def test_who_promised_nothing_is_not_helped_by_the_memory_of_those_who_did() -> None:
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100, unpromised_share=0.5)
    asked: list[str] = []
    loud = await gate.acquire(50, deadline_s=99, promised=False)
    silent = await gate.acquire(50, deadline_s=99)
    with silent.awaiting(10, lambda: asked.append("promised")):
        clock.advance(50)
        waiting = asyncio.create_task(gate.acquire(10, deadline_s=99, promised=False))
        while not gate.statistics().waiting_count:  # noqa: ASYNC110 - gives way until the task has come so far
            await asyncio.sleep(0)
        assert not asked
        loud.release()
        (await waiting).release()
    silent.release()


@pytest.mark.parametrize(
    ("moved_bytes", "seconds"), [(0, 0.25), (32_767, 0.28), (32_768, 1.03), (MIB, 2.0), (100 * MIB, 101.0)]
)
def test_who_moves_more_may_take_longer_and_who_has_not_begun_gets_a_short_moment_only(
    moved_bytes: int, seconds: float
) -> None:
    assert pace_s(moved_bytes) == pytest.approx(seconds, abs=0.01)


class Reader:
    """One who reads an answer, or not."""

    def __init__(self) -> None:
        self.taken_bytes = 5 * MIB  # of answers before
        self.cut_off = False

    def give_way(self) -> None:
        self.cut_off = True


async def test_an_answer_that_nobody_reads_makes_room_for_those_who_wait() -> None:
    clock, reader = ManualClock(0.0), Reader()
    gate = gate_at(clock, budget_bytes=100)
    permit = await gate.acquire(60, deadline_s=99)
    reading = permit.unread(lambda: reader.taken_bytes, permit.release)
    clock.advance(0.3)
    async with asyncio.timeout(5):
        (await gate.acquire(80, deadline_s=99)).release()
    assert permit.released
    reading.end()


@pytest.mark.parametrize("promised", [True, False])
async def test_an_answer_that_is_read_at_the_least_pace_is_left_alone(promised: bool) -> None:
    clock, reader = ManualClock(0.0), Reader()
    gate = gate_at(clock, budget_bytes=100)
    with await gate.acquire(60, deadline_s=99) as permit, permit.unread(lambda: reader.taken_bytes, reader.give_way):
        clock.advance(3)
        reader.taken_bytes += 3 * MIB
        waiting = asyncio.create_task(gate.acquire(50, deadline_s=99, promised=promised))
        while not gate.statistics().waiting_count:  # noqa: ASYNC110 - gives way until the task has come so far
            await asyncio.sleep(0)
        assert not reader.cut_off
        permit.release()
        (await waiting).release()


async def test_those_who_promised_nothing_are_helped_by_any_memory_where_all_of_it_is_short() -> None:
    """As by answers that nobody reads, whose size is known."""
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100, unpromised_share=0.5)
    permit = await gate.acquire(90, deadline_s=99)
    with permit.unread(lambda: 0, permit.release):
        clock.advance(0.3)
        async with asyncio.timeout(5):
            (await gate.acquire(40, deadline_s=99, promised=False)).release()
    assert permit.released


@dataclass
class Sender:
    """Who sends a message, as much of it as has come."""

    group: str | None = None
    arrived_bytes: int = 0


@pytest.mark.parametrize(
    ("before_bytes", "arrived_bytes", "seconds"),
    [
        (0, 0, 0.25),
        (0, 1000, 0.25),
        (0, 32 << 10, 1.03),
        (0, MIB, 2.0),
        (0, 60 * MIB, 5.0),
        (MIB, MIB, 0.5),
        (MIB, MIB + 1000, 0.5),
        (MIB, 2 * MIB, 2.0),
    ],
)
def test_a_message_that_does_not_go_on_gets_a_short_moment_and_none_may_take_longer_than_a_bound(
    before_bytes: int, arrived_bytes: int, seconds: float
) -> None:
    assert sending_time_s(before_bytes, arrived_bytes) == pytest.approx(seconds, abs=0.01)


async def test_of_those_who_send_the_one_goes_that_is_furthest_behind_the_pace() -> None:
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100)
    quick, slow = Sender(), Sender(arrived_bytes=MIB)
    first = await gate.acquire(50, deadline_s=99, sender=quick)
    second = await gate.acquire(50, deadline_s=99, sender=slow)
    with first.awaiting(10, first.release), second.awaiting(10, second.release):
        clock.advance(3)
        quick.arrived_bytes += 4 * MIB
        (await gate.acquire(50, deadline_s=99)).release()
        assert (first.released, second.released) == (False, True)
    first.release()


@pytest.mark.parametrize(
    ("theirs", "own", "gives_way"),
    [("a", "b", True), ("a", "a", False), (None, "b", False), ("a", None, True)],
)
async def test_a_group_of_which_too_much_waits_for_its_messages_makes_room_for_another_at_once(
    theirs: str | None, own: str | None, gives_way: bool
) -> None:
    clock = ManualClock(0.0)
    gate = gate_at(clock, budget_bytes=100)
    permits = [await gate.acquire(10, deadline_s=99, sender=Sender(theirs, MIB)) for _ in range(10)]
    for permit in permits:
        permit.awaiting(10, permit.release)
    waiting = asyncio.create_task(gate.acquire(10, deadline_s=99, sender=Sender(own)))
    while not gate.statistics().waiting_count and not waiting.done():  # noqa: ASYNC110 - until the task has come so far
        await asyncio.sleep(0)
    assert any(permit.released for permit in permits) is gives_way
    for permit in permits:
        permit.release()
    (await waiting).release()
