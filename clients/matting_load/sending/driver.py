# SPDX-License-Identifier: Apache-2.0
"""Sends the calls of one process when they are due.

Latency counts from the time a call was due, not from when it was sent, so that a server (or a
generator) that stalls is charged for every call that the stall held up (coordinated omission;
G. Tene, "How NOT to Measure Latency", 2015).
"""

import asyncio
import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from matting_load.arrivals import Seconds, arrival_times
from matting_load.outcomes import AWAY, LATE, NOT_SENT, OK, UNFINISHED
from matting_load.plan import ClosedLoop, OpenLoop, Plan
from matting_load.sending.pacing import Pacer, make_pacer
from matting_load.sending.records import Recorder, Records
from matting_load.sending.targets import Sender

# How long a caller of a closed loop pauses after an outcome in AWAY, instead of sending thousands of calls a second.
PAUSE_S = 0.25

# When many calls are due at once, answers are read in between.
_SENDS_BETWEEN_READS = 8


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a plan a process sends: every `count`-th call, from the `index`-th."""

    index: int = 0
    count: int = 1


class Driver:
    """Drives one shard of a plan.

    Owns the tasks of calls that are not answered yet, and whether it was told to stop. Times are of
    the monotonic clock.
    """

    def __init__(self, plan: Plan, sender: Sender, recorder: Recorder, shard: Shard) -> None:
        self._plan = plan
        self._sender = sender
        self._recorder = recorder
        self._shard = shard
        self._start_s = 0.0
        self._stopped = asyncio.Event()
        self._calls: set[asyncio.Task[str] | asyncio.Task[None]] = set()
        self._deadlines_s = [each.deadline_s for each in plan.deadlines]
        self._class_edges = _edges([each.share for each in plan.deadlines])
        self._payload_edges = _edges([each.share for each in sender.payloads])

    async def run(self, start_s: float) -> Records:
        """Send everything from `start_s` on, wait for the last answers, and return what was seen."""
        self._start_s = start_s
        cpu_s = time.process_time()
        sending = asyncio.create_task(self._send())
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopped_s = None if sending.done() else time.monotonic() - start_s
        finally:
            tasks = [sending, stopping, *self._calls]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if stopped_s is None:
            sending.result()
        records = self._recorder.records(time.process_time() - cpu_s, time.monotonic() - start_s)
        return dataclasses.replace(records, stopped_s=stopped_s)

    def stop(self) -> None:
        """Send no more, and give up what is not answered: it leaves no row."""
        self._stopped.set()

    async def _send(self) -> None:
        load = self._plan.load
        with make_pacer() as pacer:
            if isinstance(load, ClosedLoop):
                await pacer.until(self._start_s)
                await self._closed(load)
            else:
                await self._open(due_times(self._plan, self._shard), pacer)

    async def _open(self, times: Seconds, pacer: Pacer) -> None:
        rng = np.random.default_rng((self._plan.seed, 2, self._shard.index))
        classes = np.searchsorted(self._class_edges, rng.random(len(times)), side="right").tolist()
        payloads = np.searchsorted(self._payload_edges, rng.random(len(times)), side="right").tolist()
        for number, (due_s, deadline_class, payload) in enumerate(zip(times.tolist(), classes, payloads, strict=True)):
            await pacer.until(self._start_s + due_s)
            if number % _SENDS_BETWEEN_READS == 0:
                await asyncio.sleep(0)
            self._recorder.due()
            if len(self._calls) >= self._plan.max_outstanding:
                now_s = time.monotonic() - self._start_s
                self._recorder.add(
                    due_s, now_s, now_s, outcome=NOT_SENT, deadline_class=deadline_class, payload=payload
                )
                continue
            task = asyncio.create_task(self._one(due_s, deadline_class, payload))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        await pacer.until(self._start_s + self._plan.load.duration_s)
        if self._calls:
            await asyncio.wait(self._calls, timeout=self._drain_timeout_s())

    async def _closed(self, load: ClosedLoop) -> None:
        callers = range(self._shard.index, load.caller_count, self._shard.count)
        self._calls = {asyncio.create_task(self._caller(caller, load.duration_s)) for caller in callers}
        if self._calls:
            await asyncio.wait(self._calls, timeout=load.duration_s + self._drain_timeout_s())

    async def _caller(self, caller: int, duration_s: float) -> None:
        rng = np.random.default_rng((self._plan.seed, 3, caller))
        while (now_s := time.monotonic() - self._start_s) < duration_s:
            deadline_class = int(np.searchsorted(self._class_edges, rng.random(), side="right"))
            payload = int(np.searchsorted(self._payload_edges, rng.random(), side="right"))
            self._recorder.due()
            if await self._one(now_s, deadline_class, payload) in AWAY:
                await asyncio.sleep(min(PAUSE_S, max(0.0, self._start_s + duration_s - time.monotonic())))

    async def _one(self, due_s: float, deadline_class: int, payload: int) -> str:
        sent_s = time.monotonic() - self._start_s
        deadline_s = self._deadlines_s[deadline_class]
        timeout_s = None if deadline_s is None else max(0.0, due_s + deadline_s - sent_s)
        outcome = UNFINISHED
        try:
            outcome = await self._sender.send(payload, timeout_s)
        finally:
            done_s = time.monotonic() - self._start_s
            if outcome == OK and deadline_s is not None and done_s - due_s > deadline_s:
                outcome = LATE
            if not (outcome == UNFINISHED and self._stopped.is_set()):
                self._recorder.add(
                    due_s, sent_s, done_s, outcome=outcome, deadline_class=deadline_class, payload=payload
                )
        return outcome

    def _drain_timeout_s(self) -> float:
        """Return how long to wait for answers once the last call is sent."""
        longest_s = max((each or self._plan.drain_s for each in self._deadlines_s), default=0.0)
        return longest_s + 1.0


def due_times(plan: Plan, shard: Shard) -> Seconds:
    """Return the times at which a shard's calls are due."""
    load = plan.load
    if isinstance(load, OpenLoop):
        times = arrival_times(load.segments, load.process, np.random.default_rng((plan.seed, 1)))
    elif isinstance(load, ClosedLoop):
        raise TypeError("a closed loop has no due times")
    else:
        times = np.asarray(load.times_s, dtype=np.float64)
    part: Seconds = times[shard.index :: shard.count]
    return part


def _edges(shares: list[float]) -> Seconds:
    """Return the upper edges of all classes but the last on [0, 1)."""
    total = np.cumsum(shares)
    edges: Seconds = total[:-1] / total[-1]
    return edges
