# SPDX-License-Identifier: Apache-2.0
"""Facts about the gate: memory is bounded, waiting is ordered, nothing leaks."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.admission.gate import Gate, GateStatistics
from matting_gateway.admission.permit import Permit
from matting_gateway.admission.settings import GateSettings
from matting_gateway.clock import SystemClock
from matting_gateway.domain.job import Priority
from matting_gateway.errors import DeadlineExpiredError, OverloadedError
from matting_gateway.options import MIB
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry
from testkit.manual_clock import ManualClock


def gate_of(**settings: float) -> Gate:
    return Gate(GateSettings(**settings), clock=SystemClock(), metrics=Metrics(CollectorRegistry()))  # type: ignore[arg-type]  # counts are whole in every call below


def soon() -> float:
    return SystemClock().now() + 30


async def waiting(gate: Gate, count: int) -> None:
    while gate.statistics().waiting_count < count:  # noqa: ASYNC110 - gives way until the tasks have come so far
        await asyncio.sleep(0)


async def test_a_permit_that_fits_is_granted_at_once_and_returns_its_bytes() -> None:
    gate = gate_of(budget_bytes=100)
    with await gate.acquire(60, deadline_s=soon()):
        assert gate.statistics().used_bytes == 60
    assert gate.statistics().used_bytes == 0


async def test_releasing_twice_returns_the_bytes_once() -> None:
    gate = gate_of(budget_bytes=100)
    permit = await gate.acquire(60, deadline_s=soon())
    permit.release()
    permit.release()
    assert (gate.statistics().used_bytes, gate.statistics().permit_count) == (0, 0)


async def test_a_permit_shrinks_and_does_not_grow_back() -> None:
    gate = gate_of(budget_bytes=100)
    with await gate.acquire(60, deadline_s=soon()) as permit:
        permit.shrink(20)
        permit.shrink(50)
        assert gate.statistics().used_bytes == 20


async def test_a_call_that_needs_more_than_expected_gets_it_only_if_it_is_free_now() -> None:
    gate = gate_of(budget_bytes=100)
    with await gate.acquire(60, deadline_s=soon()) as permit:
        await permit.settle(90, deadline_s=soon())
        assert gate.statistics().used_bytes == 90
        await permit.settle(30, deadline_s=soon())
        with await gate.acquire(50, deadline_s=soon()):
            with pytest.raises(OverloadedError):
                await permit.settle(80, deadline_s=soon())
            assert gate.statistics().used_bytes == 80
    assert gate.statistics().used_bytes == 0


async def test_who_promised_nothing_waits_for_what_it_needs_beside_its_message() -> None:
    gate = gate_of(budget_bytes=100, unpromised_share=0.5)
    others = await gate.acquire(70, deadline_s=soon())
    with await gate.acquire(20, deadline_s=soon(), promised=False) as permit:
        settling = asyncio.create_task(permit.settle(60, deadline_s=soon()))
        await waiting(gate, 1)
        assert gate.statistics() == GateStatistics(2, 90, 20, 1)
        others.release()
        await settling
        assert gate.statistics() == GateStatistics(1, 60, 0, 0)
    assert gate.statistics() == GateStatistics(0, 0, 0, 0)


async def test_bodies_that_wait_for_the_rest_of_their_need_never_wait_for_one_another() -> None:
    gate = gate_of(budget_bytes=100, unpromised_share=0.5)
    permits = [await gate.acquire(10, deadline_s=soon(), promised=False) for _ in range(5)]
    done: list[Permit] = []

    async def work(permit: Permit) -> None:
        await permit.settle(60, deadline_s=soon())
        done.append(permit)
        permit.release()

    await asyncio.gather(*(work(permit) for permit in permits))
    assert done == permits


async def test_waiting_for_the_rest_ends_at_the_deadline_and_keeps_the_message() -> None:
    gate = gate_of(budget_bytes=100)
    others = await gate.acquire(70, deadline_s=soon())
    with await gate.acquire(20, deadline_s=soon(), promised=False) as permit, others:
        with pytest.raises(DeadlineExpiredError):
            await permit.settle(60, deadline_s=SystemClock().now() + 0.01)
        assert gate.statistics() == GateStatistics(2, 90, 20, 0)
    assert gate.statistics() == GateStatistics(0, 0, 0, 0)


async def test_a_caller_who_leaves_in_the_instant_in_which_it_gets_the_rest_leaks_nothing() -> None:
    gate = gate_of(budget_bytes=100)
    others = await gate.acquire(70, deadline_s=soon())
    with await gate.acquire(20, deadline_s=soon(), promised=False) as permit:
        settling = asyncio.create_task(permit.settle(60, deadline_s=soon()))
        await waiting(gate, 1)
        others.release()
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
    assert gate.statistics() == GateStatistics(0, 0, 0, 0)


async def test_large_messages_of_callers_who_promise_nothing_leave_a_part_to_small_ones() -> None:
    gate = gate_of(budget_bytes=128 * MIB, unpromised_share=0.5)
    large = [gate.try_acquire(8 * MIB, promised=False) for _ in range(8)]
    assert [permit is not None for permit in large] == [True] * 7 + [False]
    small = [gate.try_acquire(MIB, promised=False) for _ in range(9)]
    assert [permit is not None for permit in small] == [True] * 8 + [False]


async def test_the_smaller_message_of_those_who_promise_nothing_is_served_first() -> None:
    gate = gate_of(budget_bytes=64 * MIB, unpromised_share=0.5)
    first = await gate.acquire(28 * MIB, deadline_s=soon(), promised=False)
    order: list[str] = []

    async def call(name: str, byte_count: int, deadline_s: float) -> None:
        with await gate.acquire(byte_count, deadline_s=deadline_s, promised=False):
            order.append(name)

    sizes = {"small, late": 5, "small, early": 5, "middle": 10, "large": 24}
    deadline_s = soon()
    tasks = [
        asyncio.create_task(call(name, size * MIB, deadline_s - index))
        for index, (name, size) in enumerate(sizes.items())
    ]
    await waiting(gate, 4)
    first.release()
    await asyncio.gather(*tasks)
    assert order == ["small, early", "small, late", "middle", "large"]


async def test_an_answer_on_its_way_is_held_until_it_is_sent() -> None:
    gate = gate_of(budget_bytes=100)
    with await gate.acquire(60, deadline_s=soon()) as permit:
        answer = permit.hand_over(10)
    assert gate.statistics().used_bytes == 10
    answer.release()
    assert gate.statistics() == type(gate.statistics())(0, 0, 0, 0)


async def test_who_could_not_be_answered_in_time_any_more_makes_way_for_who_can() -> None:
    clock = ManualClock(100.0)
    gate = Gate(GateSettings(budget_bytes=100), clock=clock, metrics=Metrics(CollectorRegistry()))
    with await gate.acquire(100, deadline_s=200) as permit:
        clock.advance(10)
        permit.succeeded()
    busy = await gate.acquire(40, deadline_s=200)
    held = await gate.acquire(60, deadline_s=200)
    hopeless = asyncio.create_task(gate.acquire(100, deadline_s=115))
    fine = asyncio.create_task(gate.acquire(60, deadline_s=180))
    await waiting(gate, 2)
    held.release()
    busy.shrink(0)
    (await fine).release()
    with pytest.raises(OverloadedError):
        await hopeless
    busy.release()
    assert gate.statistics().used_bytes == 0


async def test_who_waits_hears_that_too_little_time_is_left_while_it_can_still_ask_another() -> None:
    clock = ManualClock()
    gate = Gate(GateSettings(budget_bytes=100), clock=clock, metrics=Metrics(CollectorRegistry()))
    for _ in range(3):
        with await gate.acquire(100, deadline_s=clock.now() + 60) as permit:
            clock.advance(10)
            permit.succeeded()
    with await gate.acquire(100, deadline_s=clock.now() + 60):
        with pytest.raises(OverloadedError, match="take about 1"):
            await gate.acquire(100, deadline_s=clock.now() + 9)
        assert gate.statistics().waiting_count == 0
    with await gate.acquire(100, deadline_s=clock.now() + 9):
        assert gate.statistics().used_bytes == 100


async def test_more_than_the_whole_budget_is_granted_alone() -> None:
    gate = gate_of(budget_bytes=100)
    with await gate.acquire(1000, deadline_s=soon()):
        assert gate.try_acquire(1) is None


async def test_who_waits_is_served_when_bytes_come_back() -> None:
    gate = gate_of(budget_bytes=100)
    first = await gate.acquire(80, deadline_s=soon())
    second = asyncio.create_task(gate.acquire(50, deadline_s=soon()))
    await waiting(gate, 1)
    first.shrink(40)
    (await second).release()
    first.release()
    assert gate.statistics().used_bytes == 0


async def test_the_more_urgent_is_served_first_and_then_the_earlier_deadline() -> None:
    gate = gate_of(budget_bytes=100)
    first = await gate.acquire(100, deadline_s=soon())
    order: list[str] = []

    async def call(name: str, deadline_s: float, priority: Priority) -> None:
        with await gate.acquire(100, deadline_s=deadline_s, priority=priority):
            order.append(name)

    now = soon()
    tasks = [
        asyncio.create_task(call(*args))
        for args in (
            ("late", now + 2, Priority.NORMAL),
            ("early", now + 1, Priority.NORMAL),
            ("high", now + 9, Priority.HIGH),
        )
    ]
    await waiting(gate, 3)
    first.release()
    await asyncio.gather(*tasks)
    assert order == ["high", "early", "late"]


async def test_waiting_ends_at_the_deadline() -> None:
    gate = gate_of(budget_bytes=100)
    with await gate.acquire(100, deadline_s=soon()):
        with pytest.raises(DeadlineExpiredError):
            await gate.acquire(1, deadline_s=SystemClock().now() + 0.01)
        assert gate.statistics().waiting_count == 0


async def test_too_many_waiting_are_refused_with_a_time_to_come_back() -> None:
    gate = gate_of(budget_bytes=100, max_waiting_count=1)
    with await gate.acquire(100, deadline_s=soon()):
        waiter = asyncio.create_task(gate.acquire(1, deadline_s=soon()))
        await waiting(gate, 1)
        with pytest.raises(OverloadedError) as refused:
            await gate.acquire(1, deadline_s=soon())
        assert refused.value.retry_after_s
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)


async def test_a_caller_who_leaves_in_the_instant_of_the_grant_leaks_nothing() -> None:
    gate = gate_of(budget_bytes=100)
    first = await gate.acquire(100, deadline_s=soon())
    waiter = asyncio.create_task(gate.acquire(100, deadline_s=soon()))
    await waiting(gate, 1)
    first.release()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert gate.statistics().used_bytes == 0


async def test_those_who_promise_nothing_never_shut_out_those_who_do() -> None:
    gate = gate_of(budget_bytes=100, unpromised_share=0.5)
    silent = await gate.acquire(1000, deadline_s=soon(), promised=False)
    assert gate.try_acquire(10, promised=False) is None
    with await gate.acquire(50, deadline_s=soon()):
        pass
    silent.release()


async def test_a_silent_caller_counts_as_known_once_its_size_is() -> None:
    gate = gate_of(budget_bytes=100, unpromised_share=0.5)
    with await gate.acquire(50, deadline_s=soon(), promised=False) as permit:
        permit.shrink(50)
        assert gate.statistics().unpromised_bytes == 0


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 150), st.booleans(), st.integers(0, 150)), max_size=30))
def test_the_budget_is_never_exceeded_and_everything_comes_back(calls: list[tuple[int, bool, int]]) -> None:
    async def run() -> None:
        gate = gate_of(budget_bytes=100)

        async def call(byte_count: int, promised: bool, shrunk: int) -> None:
            with await gate.acquire(byte_count, deadline_s=soon(), promised=promised) as permit:
                assert gate.statistics().used_bytes <= 100
                permit.shrink(shrunk)
                await asyncio.sleep(0)

        await asyncio.gather(*(call(*c) for c in calls))
        assert gate.statistics() == type(gate.statistics())(0, 0, 0, 0)

    asyncio.run(run())


class Sender:
    """Who sends a message, of a group."""

    arrived_bytes = 0

    def __init__(self, group: str | None) -> None:
        self.group = group


async def test_a_group_may_take_every_place_alone_and_leaves_an_eighth_as_soon_as_another_comes() -> None:
    gate = gate_of(budget_bytes=100, max_waiting_count=8)

    def wait(group: str | None) -> asyncio.Task[object]:
        return asyncio.create_task(gate.acquire(1, deadline_s=soon(), sender=Sender(group)))

    with await gate.acquire(100, deadline_s=soon()):
        many = [wait("192.0.2.0/24") for _ in range(8)]
        await waiting(gate, 8)
        with pytest.raises(OverloadedError):
            await wait("192.0.2.0/24")
        other = wait("198.51.100.0/24")
        await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
        assert [task.done() for task in many] == [False] * 7 + [True]
        assert isinstance(many[-1].exception(), OverloadedError)
        with pytest.raises(OverloadedError):
            await wait("203.0.113.0/24")  # the eighth that is kept is for all others together
        for task in (*many, other):
            task.cancel()
        await asyncio.gather(*many, other, return_exceptions=True)
    assert not gate._waiting[True]._by_group


async def test_peers_that_stand_for_many_may_take_every_place() -> None:
    gate = gate_of(budget_bytes=100, max_waiting_count=2)
    with await gate.acquire(100, deadline_s=soon()):
        tasks = [asyncio.create_task(gate.acquire(1, deadline_s=soon(), sender=Sender(None))) for _ in range(2)]
        await waiting(gate, 2)
        with pytest.raises(OverloadedError):
            await gate.acquire(1, deadline_s=soon(), sender=Sender("192.0.2.0/24"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
