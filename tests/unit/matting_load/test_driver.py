# SPDX-License-Identifier: Apache-2.0
"""Calls are sent when they are due, whatever becomes of those before."""

import asyncio
import contextlib
import io
import time
from collections import Counter
from typing import Self

import pytest
from matting_load.arrivals import steady
from matting_load.outcomes import LATE, NO_ANSWER_IN_TIME, NOT_SENT, UNFINISHED
from matting_load.plan import ClosedLoop, DeadlineClass, GatewayTarget, OpenLoop, Plan, Replay
from matting_load.reports.live import LiveView, latency_text
from matting_load.sending.driver import Driver, Shard, due_times
from matting_load.sending.pacing import Pacer, SleepPacer, TimerPacer
from matting_load.sending.payloads import Payload
from matting_load.sending.records import Recorder, Records, Tally
from matting_load.sending.samples import ErrorSamples
from rich.console import Console


class FakeSender:
    """Answers as told; notes what it was asked."""

    def __init__(self, answer: asyncio.Event | None = None, outcome: str = "ok") -> None:
        self.payloads: tuple[Payload, ...] = (Payload("a", b"", 3.0), Payload("b", b"", 1.0))
        self.errors = ErrorSamples()
        self.sent: list[tuple[int, float | None]] = []
        self.in_flight = self.most_in_flight = 0
        self.asked = asyncio.Event()
        self._answer = answer
        self._outcome = outcome

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Nothing to give back."""

    async def send(self, index: int, timeout_s: float | None) -> str:
        self.sent.append((index, timeout_s))
        self.asked.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self._answer is None:
                await asyncio.sleep(0)
                return self._outcome
            async with asyncio.timeout(timeout_s):
                await self._answer.wait()
        except TimeoutError:
            return NO_ANSWER_IN_TIME
        finally:
            self.in_flight -= 1
        return self._outcome


async def drive(plan: Plan, sender: FakeSender, shard: Shard | None = None) -> Records:
    return await Driver(plan, sender, Recorder(), shard or Shard()).run(time.monotonic())


def outcomes(records: Records) -> dict[str, int]:
    return dict(Counter(records.outcome_names[index] for index in records.outcome))


@pytest.mark.slow
async def test_a_server_that_never_answers_does_not_slow_the_sending() -> None:
    plan = Plan(GatewayTarget(), OpenLoop(steady(400, 0.5), "constant"), deadlines=(DeadlineClass(0.4),))
    sender = FakeSender(asyncio.Event())
    records = await drive(plan, sender)
    assert outcomes(records) == {NO_ANSWER_IN_TIME: 200}
    assert sender.most_in_flight > 100
    # What is waited for is what was due, and the deadline counts from there.
    assert (records.done_s - records.due_s >= 0.4).all()
    assert all(timeout_s is not None and timeout_s <= 0.4 for _, timeout_s in sender.sent)


async def test_an_answer_after_the_deadline_is_late() -> None:
    plan = Plan(GatewayTarget(), Replay((0.0,)), deadlines=(DeadlineClass(1e-9),))
    assert outcomes(await drive(plan, FakeSender())) == {LATE: 1}


async def test_callers_of_a_closed_loop_have_one_call_each() -> None:
    sender = FakeSender()
    records = await drive(Plan(GatewayTarget(), ClosedLoop(5, 0.1)), sender)
    assert sender.most_in_flight == 5
    assert len(records.due_s) > 10
    assert (records.due_s < 0.1).all()


async def test_payloads_and_deadlines_have_their_shares() -> None:
    classes = (DeadlineClass(1.0, 1.0), DeadlineClass(None, 3.0))
    plan = Plan(GatewayTarget(), Replay((0.0,) * 2000), deadlines=classes)
    records = await drive(plan, FakeSender())
    assert (records.payload == 0).mean() == pytest.approx(0.75, abs=0.05)
    assert (records.deadline_class == 0).mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.slow
async def test_what_is_too_much_outstanding_is_not_sent_but_counted() -> None:
    plan = Plan(GatewayTarget(), Replay((0.0,) * 50), deadlines=(DeadlineClass(1.0),), max_outstanding=20)
    assert outcomes(await drive(plan, FakeSender(asyncio.Event()))) == {NO_ANSWER_IN_TIME: 20, NOT_SENT: 30}


async def test_what_is_never_answered_is_given_up_in_the_end() -> None:
    plan = Plan(GatewayTarget(), Replay((0.0,)), drain_s=-0.9)
    assert outcomes(await drive(plan, FakeSender(asyncio.Event()))) == {UNFINISHED: 1}


async def test_a_cancelled_test_leaves_nothing_behind() -> None:
    sender = FakeSender(asyncio.Event())
    running = asyncio.create_task(drive(Plan(GatewayTarget(), ClosedLoop(1, 60.0)), sender))
    await sender.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sender.in_flight == 0


def test_shards_send_each_call_once() -> None:
    plan = Plan(GatewayTarget(), OpenLoop(steady(100, 2)))
    shards = [due_times(plan, Shard(index, 3)).tolist() for index in range(3)]
    assert sorted(time_s for shard in shards for time_s in shard) == due_times(plan, Shard()).tolist()
    with pytest.raises(TypeError):
        due_times(Plan(GatewayTarget(), ClosedLoop(1)), Shard())


@pytest.mark.parametrize("make", [TimerPacer, SleepPacer])
async def test_a_pacer_wakes_when_asked_and_not_before(make: type[Pacer]) -> None:
    with make() as pacer:
        for _ in range(20):
            instant_s = time.monotonic() + 0.003
            await pacer.until(instant_s)
            assert time.monotonic() >= instant_s
        await pacer.until(0.0)


async def test_a_cancelled_wait_leaves_the_pacer_usable() -> None:
    with TimerPacer() as pacer:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.005):
                await pacer.until(time.monotonic() + 60)
        instant_s = time.monotonic() + 0.001
        await pacer.until(instant_s)
        assert time.monotonic() >= instant_s


def test_a_watcher_sees_rates_and_outcomes() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    times = iter([0.0, 1.0])
    plan = Plan(GatewayTarget(), ClosedLoop(4, 10.0), label="mine")
    with LiveView(plan, console, enabled=True, clock=lambda: next(times)) as view:
        view.watch(Tally())
        view.watch(Tally(120, 20, Counter(ok=90, OVERLOADED=10), (0.05,) * 10))
    shown = out.getvalue()
    for part in ("mine", "closed loop, 4 callers", "120", "90", "OVERLOADED 10", "50.0"):
        assert part in shown
    assert latency_text(()) == "no answer yet"


def test_nobody_watching_is_shown_nothing() -> None:
    out = io.StringIO()
    console = Console(file=out)
    with LiveView(Plan(GatewayTarget(), ClosedLoop(1)), console, enabled=False, clock=time.monotonic) as view:
        view.watch(Tally())
    assert out.getvalue() == ""
