# SPDX-License-Identifier: Apache-2.0
"""The policies that are compared. Ours is the gateway's own code, driven in virtual time."""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.simulator.arrivals import Arrival
from bench.simulator.engine import World
from matting_gateway.batching.core import SchedulerCore
from matting_gateway.batching.endpoints.endpoint_model import InflightBatch
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.outcomes import Drop, Fail, Refusal
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Job, Priority

KEY = BatchKey("model", "1", ())


class Gateway:
    """Ours. From `hangs_at_s` on, endpoint 0 takes batches and never answers, until the patience with it ends.

    The machine is asked before a job arrives, as the pipeline asks before it decodes a photo. Without that
    this simulator could not see that asking cost the next caller its try. It still cannot see what lies
    between them: the time of decoding, whose end finds another queue; callers who go away; the shell's waiting for
    bodies on their way; an answer's own way back.
    """

    def __init__(
        self, world: World, settings: BatchingSettings | None = None, *, hangs_at_s: float = float("inf")
    ) -> None:
        count = world.endpoint_count
        self._hangs_at_s = hangs_at_s
        self._states = tuple(EndpointState(str(i), True, 2, 1, world.curve.max_rows) for i in range(count))
        self.core = SchedulerCore(lambda _: self._states, settings or BatchingSettings())
        self._wake_s = float("inf")
        self._arrivals: dict[Entry, Arrival] = {}

    def arrive(self, world: World, arrival: Arrival) -> None:
        tenant = arrival.group if arrival.group.startswith("tenant") else ""
        asked = (KEY, 1, arrival.deadline_s, Priority.NORMAL, tenant, world.now_s)
        if self.core.check(*asked) is not None:
            self.core.turned_away(*asked)
            world.tally.refused += 1
            return
        entry = self.core.arrive(Job(KEY, (), 1, arrival.deadline_s, tenant=tenant), None, world.now_s)
        if isinstance(entry, Refusal):
            world.tally.refused += 1
        else:
            self._arrivals[entry] = arrival
            self._pump(world)

    def _pump(self, world: World) -> None:
        for action in self.core.pump(world.now_s):
            if isinstance(action, Drop | Fail):
                world.tally.dropped += 1
                del self._arrivals[action.entry]
            else:
                self._send(world, action.inflight_batch)
        wake_s = self.core.wake_at()
        if wake_s is not None and wake_s < self._wake_s:
            self._wake_s = wake_s
            world.at(wake_s, lambda: self._woken(world, wake_s))

    def _woken(self, world: World, wake_s: float) -> None:
        if wake_s == self._wake_s:
            self._wake_s = float("inf")
            self._pump(world)

    def _send(self, world: World, inflight_batch: InflightBatch) -> None:
        if inflight_batch.server.endpoint == "0" and world.now_s >= self._hangs_at_s:
            world.at(world.now_s + inflight_batch.patience_s, lambda: self._lost(world, inflight_batch))
        else:
            world.run(
                int(inflight_batch.server.endpoint), inflight_batch.rows, lambda: self._done(world, inflight_batch)
            )

    def _lost(self, world: World, inflight_batch: InflightBatch) -> None:
        self._states = tuple(state for state in self._states if state.endpoint != inflight_batch.server.endpoint)
        world.tally.dropped += len(self.core.fail(inflight_batch, world.now_s, retry=True))
        self.core.endpoints_changed(world.now_s)
        self._pump(world)

    def _done(self, world: World, inflight_batch: InflightBatch) -> None:
        self.core.complete(inflight_batch, world.now_s)
        for entry in inflight_batch.entries:
            world.answered(self._arrivals.pop(entry))
        self._pump(world)


@dataclass
class Triton:
    """Triton's dynamic batcher: first come first served, at most `delay_s` for a batch to fill.

    With `timeout_s`, what waited longer is rejected when its turn comes (REJECT). Callers are
    spread over the endpoints in turn, as a load balancer would.
    """

    delay_s: float = 0.0
    timeout_s: float = float("inf")
    _queues: list[deque[Arrival]] = field(default_factory=list)
    _busy: list[bool] = field(default_factory=list)
    _turn: int = 0

    def arrive(self, world: World, arrival: Arrival) -> None:
        if not self._queues:
            self._queues = [deque() for _ in range(world.endpoint_count)]
            self._busy = [False] * world.endpoint_count
        endpoint = self._turn = (self._turn + 1) % world.endpoint_count
        self._queues[endpoint].append(arrival)
        self._next(world, endpoint)
        if self.delay_s:
            world.at(arrival.at_s + self.delay_s, lambda: self._next(world, endpoint))

    def _next(self, world: World, endpoint: int) -> None:
        queue = self._queues[endpoint]
        while queue and world.now_s - queue[0].at_s > self.timeout_s:
            queue.popleft()
            world.tally.dropped += 1
        if self._busy[endpoint] or not queue:
            return
        if len(queue) < world.curve.max_rows and world.now_s < queue[0].at_s + self.delay_s:
            return
        batch = [queue.popleft() for _ in range(min(world.curve.max_rows, len(queue)))]
        self._busy[endpoint] = True
        world.run(endpoint, len(batch), lambda: self._done(world, endpoint, batch))

    def _done(self, world: World, endpoint: int, batch: Sequence[Arrival]) -> None:
        self._busy[endpoint] = False
        for arrival in batch:
            world.answered(arrival)
        self._next(world, endpoint)


@dataclass
class Clipper:
    """Clipper (NSDI'17): earliest deadline first, what expired is thrown away, batch size by AIMD.

    Each endpoint adds one to its limit after a batch within the objective and takes a tenth off
    after one beyond it; the objective is what the jobs are allowed at the least.
    """

    objective_s: float
    _heap: list[tuple[float, float, Arrival]] = field(default_factory=list)
    _idle: list[int] | None = None
    _limits: dict[int, float] = field(default_factory=dict)

    def arrive(self, world: World, arrival: Arrival) -> None:
        if self._idle is None:
            self._idle = list(range(world.endpoint_count))
        heapq.heappush(self._heap, (arrival.deadline_s, arrival.at_s, arrival))
        self._next(world)

    def _next(self, world: World) -> None:
        while self._idle and self._heap:
            limit = int(self._limits.setdefault(self._idle[-1], 1.0))
            batch: list[Arrival] = []
            while self._heap and len(batch) < min(limit, world.curve.max_rows):
                arrival = heapq.heappop(self._heap)[2]
                if arrival.deadline_s <= world.now_s:
                    world.tally.dropped += 1
                else:
                    batch.append(arrival)
            if batch:
                self._run(world, self._idle.pop(), batch)

    def _run(self, world: World, endpoint: int, batch: list[Arrival]) -> None:
        sent_s = world.now_s

        def done() -> None:
            in_time = world.now_s - sent_s <= self.objective_s
            limit = self._limits[endpoint]
            self._limits[endpoint] = min(limit + 1, world.curve.max_rows) if in_time else max(1.0, 0.9 * limit)
            for arrival in batch:
                world.answered(arrival)
            if self._idle is not None:
                self._idle.append(endpoint)
            self._next(world)

        world.run(endpoint, len(batch), done)
