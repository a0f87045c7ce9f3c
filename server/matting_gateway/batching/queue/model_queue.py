# SPDX-License-Identifier: Apache-2.0
"""Everything that waits for one model, and who of it is let in. Pure: no clock, no asyncio."""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

from matting_gateway.batching.endpoints.endpoint_set import EndpointSet
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.latency.latency_model import LatencyTable
from matting_gateway.batching.outcomes import Admission, Reason, Refusal, Verdict
from matting_gateway.batching.queue import policy
from matting_gateway.batching.queue.batch_key_queue import BatchKeyQueue, DeadlineProfile
from matting_gateway.batching.queue.shares import Flow, Shares
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Priority

_MAX_KEYS = 256  # keys of one model that are remembered while nothing of them waits


class AdmissionRequest(NamedTuple):
    """What a newcomer asks for."""

    key: BatchKey
    rows: int
    due_s: float
    priority: Priority
    tenant: str


class ModelQueue:
    """Owns the queues by batch key, the endpoints and the shares of one model.

    Invariants: an entry waits in exactly one queue and is counted in exactly one profile and one
    flow; all three sums agree. Every queue has its heads noted. `_heads` and `_dues` name the head of
    every queue and priority that has one, by urgency and by deadline; items that name what is noted
    no more are skipped.
    """

    def __init__(self, example: BatchKey, settings: BatchingSettings, weight: Callable[[str], float]) -> None:
        self._settings = settings
        self.endpoint_set = EndpointSet(settings)
        self.key_queues: dict[BatchKey, BatchKeyQueue] = {}
        self.shares = Shares(weight, settings.demand_window_s)
        # A key that stands for the model when the pool is asked.
        self.example = example
        # Whether the next server is better left as it is; another event must come first.
        self.stuck = False
        # When those are told whom no server is left for, after one went away.
        self.lost_s: float | None = None
        self._heads: list[tuple[int, float, int, BatchKeyQueue]] = []
        self._dues: list[tuple[float, int, BatchKeyQueue, Entry]] = []
        self._profiles = [DeadlineProfile() for _ in Priority]

    # --- the waiting jobs -----------------------------------------------------------------

    def join(self, entry: Entry, flow: Flow, now_s: float) -> None:
        """Let an entry wait."""
        key_queue = self._key_queue(entry.key)
        entry.key = key_queue.key  # one object for all, which is found sooner than an equal one
        key_queue.push(entry)
        self._note_head(key_queue, entry.priority)
        entry.bucket = self._profiles[entry.priority].add(entry.due_s, now_s, entry.rows)
        entry.flow = flow
        self.shares.join(flow, entry, now_s)

    def leave(self, key_queue: BatchKeyQueue, entries: Sequence[Entry]) -> None:
        """Take waiting entries of one queue out, given in their order, from wherever they stand."""
        if not entries:
            return
        if entries[0].priority == entries[-1].priority:
            self._leave(key_queue, entries)
        else:
            for entry in entries:
                self._leave(key_queue, (entry,))

    def _leave(self, key_queue: BatchKeyQueue, entries: Sequence[Entry]) -> None:
        """Take out entries of one priority."""
        priority = entries[0].priority
        key_queue.take(entries)
        self._profiles[priority].remove(entries)
        for entry in entries:
            if entry.flow is not None:
                entry.flow.rows -= entry.rows
        self._note_head(key_queue, priority)

    def _key_queue(self, key: BatchKey) -> BatchKeyQueue:
        key_queue = self.key_queues.get(key)
        if key_queue is None:
            if len(self.key_queues) >= _MAX_KEYS:
                for name in [name for name, key_queue in self.key_queues.items() if not key_queue.count]:
                    del self.key_queues[name]
                    self.endpoint_set.forget(name)
            key_queue = self.key_queues[key] = BatchKeyQueue(key)
        return key_queue

    def _note_head(self, key_queue: BatchKeyQueue, priority: int) -> None:
        """Take up the head of one priority of a queue if it has changed."""
        entry = key_queue.head_of(priority)
        if entry is None:
            key_queue.noted[priority] = 0
        elif entry.seq != key_queue.noted[priority]:
            key_queue.noted[priority] = entry.seq
            heapq.heappush(self._heads, (priority, entry.due_s, entry.seq, key_queue))
            heapq.heappush(self._dues, (entry.due_s, entry.seq, key_queue, entry))

    def first_key_queue(self) -> BatchKeyQueue | None:
        """Return the queue whose head is the most urgent of all."""
        heads = self._heads
        while heads:
            priority, _, seq, key_queue = heads[0]
            if key_queue.noted[priority] == seq:
                return key_queue
            heapq.heappop(heads)
        return None

    def first_due(self) -> Entry | None:
        """Return the entry with the earliest deadline, of whatever priority."""
        dues = self._dues
        while dues:
            _, seq, key_queue, entry = dues[0]
            if key_queue.noted[entry.priority] == seq:
                return entry
            heapq.heappop(dues)
        return None

    def hopeless_at(self, entry: Entry) -> float:
        """Return from when on an entry is too late even if it were sent at once and alone."""
        table = self.endpoint_set.common_table(entry.key)
        needed_s = table.predict(entry.rows) if table.warm and self.endpoint_set.instance_count else 0.0
        return entry.due_s - needed_s

    def set_endpoints(self, states: Sequence[EndpointState], now_s: float) -> None:
        """Take over the pool's view. Whom no server is left for is told after a moment in which one may return."""
        if self.endpoint_set.set_endpoints(states, now_s) and self.lost_s is None:
            self.lost_s = now_s + self._settings.unavailable_grace_s

    def take_stranded(self, now_s: float) -> list[Entry]:
        """Return those whom no server is left for, once, when it is time that they are told; they still wait."""
        if self.lost_s is None or now_s < self.lost_s:
            return []
        self.lost_s = None
        return [
            entry
            for key_queue in self.key_queues.values()
            for entry in key_queue
            if not self.endpoint_set.can_serve(entry)
        ]

    # --- who is let in --------------------------------------------------------------------

    def note_demand(self, request: AdmissionRequest, now_s: float) -> Flow:
        """Count what is asked for, granted or not; return the flow that it is of."""
        flow = self.shares.flow(request.priority, request.tenant, request.due_s - now_s)
        self.shares.note_demand(flow, request.rows, now_s)
        if self.shares.are_stale(now_s) and self.endpoint_set.common_table(request.key).warm:
            self.shares.refresh(self.endpoint_set.rate(request.key), now_s)
        return flow

    def judge(self, request: AdmissionRequest, now_s: float, *, may_displace: bool = True) -> Verdict:
        """Decide on a newcomer. Nothing is changed by asking: what a verdict takes is taken when the job joins."""
        endpoint_set = self.endpoint_set
        if not endpoint_set.instance_count:
            return Refusal(Reason.UNAVAILABLE, retry_after_s=1.0)
        if request.rows > endpoint_set.max_rows:
            return Refusal(Reason.TOO_MANY_ROWS, max_rows=endpoint_set.max_rows)
        if request.due_s <= now_s:
            return Refusal(Reason.UNREACHABLE)
        table = endpoint_set.common_table(request.key)
        if not table.warm:
            return Admission()
        if now_s + table.predict_high(request.rows) > request.due_s:
            probe = endpoint_set.server_to_probe(request.key, request.rows, now_s)
            return Refusal(Reason.UNREACHABLE) if probe is None else Admission(probe=probe)
        return self._judge_by_queue(request, table, now_s, may_displace=may_displace)

    def _judge_by_queue(
        self, request: AdmissionRequest, table: LatencyTable, now_s: float, *, may_displace: bool
    ) -> Verdict:
        rows_ahead = self._profiles[request.priority].rows_due_until(request.due_s, now_s)
        for profile in self._profiles[: request.priority]:
            rows_ahead += profile.total_rows
        end_s = policy.predicted_end(self.endpoint_set, table, rows_ahead, request.rows, now_s)
        fits = end_s <= request.due_s
        entitled = True
        if len(self.shares.flows) > 1:
            flow = self.shares.peek(request.priority, request.tenant, request.due_s - now_s)
            entitled = flow.entitled(request.rows, now_s)
            if fits and not entitled and self.shares.contended(request.priority):
                own_s = self.endpoint_set.start_of(0, now_s) + table.predict_high(table.preferred_rows)
                end_s = max(end_s, own_s + flow.rows / (flow.fair_rate or 1e-9))
                fits = end_s <= request.due_s
            elif not fits and entitled and may_displace:
                displaced = self._displaceable(request, flow, table, rows_ahead, now_s)
                if displaced:
                    return Admission(displaced=displaced)
        if fits:
            return Admission(entitled=entitled)
        return Refusal(Reason.OVERLOADED, retry_after_s=min(max(end_s - request.due_s, 0.001), 60.0))

    def _displaceable(
        self, request: AdmissionRequest, flow: Flow, table: LatencyTable, rows_ahead: int, now_s: float
    ) -> tuple[Entry, ...]:
        """Find jobs beyond their flows' shares whose leaving makes the newcomer fit."""
        needed = (rows_ahead + request.rows - 1) % max(table.preferred_rows, 1) + 1
        if needed > rows_ahead:
            return ()
        if policy.predicted_end(self.endpoint_set, table, rows_ahead - needed, request.rows, now_s) > request.due_s:
            return ()
        chosen: list[Entry] = []
        for other in self.shares.most_over(request.priority)[:4]:
            if other is flow:
                continue
            for entry in other.displaceable(request.due_s, entitled_too=other.over and not flow.over):
                chosen.append(entry)
                needed -= entry.rows
                if needed <= 0:
                    return tuple(chosen)
        return ()

    def __repr__(self) -> str:
        return f"<ModelQueue of {len(self.key_queues)} keys, {self.endpoint_set!r}>"
