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

_MAX_LANES = 256  # keys of one model that are remembered while nothing of them waits


class AdmissionRequest(NamedTuple):
    """What a newcomer asks for."""

    key: BatchKey
    rows: int
    due_s: float
    priority: Priority
    tenant: str


class ModelQueue:
    """Owns the lanes, the fleet and the shares of one model.

    Invariants: an entry waits in exactly one lane and is counted in exactly one profile and one
    flow; all three sums agree. Every lane has its heads noted. `_heads` and `_dues` name the head of
    every lane and priority that has one, by urgency and by deadline; items that name what is noted
    no more are skipped.
    """

    def __init__(self, example: BatchKey, settings: BatchingSettings, weight: Callable[[str], float]) -> None:
        self._settings = settings
        self.fleet = EndpointSet(settings)
        self.lanes: dict[BatchKey, BatchKeyQueue] = {}
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
        lane = self._lane(entry.key)
        entry.key = lane.key  # one object for all, which is found sooner than an equal one
        lane.push(entry)
        self._note_head(lane, entry.priority)
        entry.bucket = self._profiles[entry.priority].add(entry.due_s, now_s, entry.rows)
        entry.flow = flow
        self.shares.join(flow, entry, now_s)

    def leave(self, lane: BatchKeyQueue, entries: Sequence[Entry]) -> None:
        """Take waiting entries of one lane out, given in their order, from wherever they stand."""
        if not entries:
            return
        if entries[0].priority == entries[-1].priority:
            self._leave(lane, entries)
        else:
            for entry in entries:
                self._leave(lane, (entry,))

    def _leave(self, lane: BatchKeyQueue, entries: Sequence[Entry]) -> None:
        """Take out entries of one priority."""
        priority = entries[0].priority
        lane.take(entries)
        self._profiles[priority].remove(entries)
        for entry in entries:
            entry.flow.rows -= entry.rows
        self._note_head(lane, priority)

    def _lane(self, key: BatchKey) -> BatchKeyQueue:
        lane = self.lanes.get(key)
        if lane is None:
            if len(self.lanes) >= _MAX_LANES:
                for name in [name for name, lane in self.lanes.items() if not lane.count]:
                    del self.lanes[name]
                    self.fleet.forget(name)
            lane = self.lanes[key] = BatchKeyQueue(key)
        return lane

    def _note_head(self, lane: BatchKeyQueue, priority: int) -> None:
        """Take up the head of one priority of a lane if it has changed."""
        entry = lane.head_of(priority)
        if entry is None:
            lane.noted[priority] = 0
        elif entry.seq != lane.noted[priority]:
            lane.noted[priority] = entry.seq
            heapq.heappush(self._heads, (priority, entry.due_s, entry.seq, lane))
            heapq.heappush(self._dues, (entry.due_s, entry.seq, lane, entry))

    def first_lane(self) -> BatchKeyQueue | None:
        """Return the lane whose head is the most urgent of all."""
        heads = self._heads
        while heads:
            priority, _, seq, lane = heads[0]
            if lane.noted[priority] == seq:
                return lane
            heapq.heappop(heads)
        return None

    def first_due(self) -> Entry | None:
        """Return the entry with the earliest deadline, of whatever priority."""
        dues = self._dues
        while dues:
            _, seq, lane, entry = dues[0]
            if lane.noted[entry.priority] == seq:
                return entry
            heapq.heappop(dues)
        return None

    def hopeless_at(self, entry: Entry) -> float:
        """Return from when on an entry is too late even if it were sent at once and alone."""
        table = self.fleet.common_table(entry.key)
        needed_s = table.predict(entry.rows) if table.warm and self.fleet.instance_count else 0.0
        return entry.due_s - needed_s

    def set_endpoints(self, states: Sequence[EndpointState], now_s: float) -> None:
        """Take over the pool's view. Whom no server is left for is told after a moment in which one may return."""
        if self.fleet.set_endpoints(states, now_s) and self.lost_s is None:
            self.lost_s = now_s + self._settings.unavailable_grace_s

    def take_stranded(self, now_s: float) -> list[Entry]:
        """Return those whom no server is left for, once, when it is time that they are told; they still wait."""
        if self.lost_s is None or now_s < self.lost_s:
            return []
        self.lost_s = None
        return [entry for lane in self.lanes.values() for entry in lane if not self.fleet.can_serve(entry)]

    # --- who is let in --------------------------------------------------------------------

    def note_demand(self, wish: AdmissionRequest, now_s: float) -> Flow:
        """Count what is asked for, granted or not; return the flow that it is of."""
        flow = self.shares.flow(wish.priority, wish.tenant, wish.due_s - now_s)
        self.shares.note_demand(flow, wish.rows, now_s)
        if self.shares.are_stale(now_s) and self.fleet.common_table(wish.key).warm:
            self.shares.refresh(self.fleet.rate(wish.key), now_s)
        return flow

    def judge(self, wish: AdmissionRequest, now_s: float, *, may_displace: bool = True) -> Verdict:
        """Decide on a newcomer. Nothing is changed by asking: what a verdict takes is taken when the job joins."""
        fleet = self.fleet
        if not fleet.instance_count:
            return Refusal(Reason.UNAVAILABLE, retry_after_s=1.0)
        if wish.rows > fleet.max_rows:
            return Refusal(Reason.TOO_MANY_ROWS, max_rows=fleet.max_rows)
        if wish.due_s <= now_s:
            return Refusal(Reason.UNREACHABLE)
        table = fleet.common_table(wish.key)
        if not table.warm:
            return Admission()
        if now_s + table.predict_high(wish.rows) > wish.due_s:
            probe = fleet.server_to_probe(wish.key, wish.rows, now_s)
            return Refusal(Reason.UNREACHABLE) if probe is None else Admission(probe=probe)
        return self._judge_by_queue(wish, table, now_s, may_displace=may_displace)

    def _judge_by_queue(
        self, wish: AdmissionRequest, table: LatencyTable, now_s: float, *, may_displace: bool
    ) -> Verdict:
        rows_ahead = self._profiles[wish.priority].rows_due_until(wish.due_s, now_s)
        for profile in self._profiles[: wish.priority]:
            rows_ahead += profile.total_rows
        end_s = policy.predicted_end(self.fleet, table, rows_ahead, wish.rows, now_s)
        fits = end_s <= wish.due_s
        entitled = True
        if len(self.shares.flows) > 1:
            flow = self.shares.peek(wish.priority, wish.tenant, wish.due_s - now_s)
            entitled = flow.entitled(wish.rows, now_s)
            if fits and not entitled and self.shares.contended(wish.priority):
                own_s = self.fleet.start_of(0, now_s) + table.predict_high(table.preferred_rows)
                end_s = max(end_s, own_s + flow.rows / (flow.fair_rate or 1e-9))
                fits = end_s <= wish.due_s
            elif not fits and entitled and may_displace:
                displaced = self._displaceable(wish, flow, table, rows_ahead, now_s)
                if displaced:
                    return Admission(displaced=displaced)
        if fits:
            return Admission(entitled=entitled)
        return Refusal(Reason.OVERLOADED, retry_after_s=min(max(end_s - wish.due_s, 0.001), 60.0))

    def _displaceable(
        self, wish: AdmissionRequest, flow: Flow, table: LatencyTable, rows_ahead: int, now_s: float
    ) -> tuple[Entry, ...]:
        """Find jobs beyond their flows' shares whose leaving makes the newcomer fit."""
        needed = (rows_ahead + wish.rows - 1) % max(table.preferred_rows, 1) + 1
        if needed > rows_ahead:
            return ()
        if policy.predicted_end(self.fleet, table, rows_ahead - needed, wish.rows, now_s) > wish.due_s:
            return ()
        chosen: list[Entry] = []
        for other in self.shares.most_over(wish.priority)[:4]:
            if other is flow:
                continue
            for entry in other.displaceable(wish.due_s, entitled_too=other.over and not flow.over):
                chosen.append(entry)
                needed -= entry.rows
                if needed <= 0:
                    return tuple(chosen)
        return ()

    def __repr__(self) -> str:
        return f"<Group of {len(self.lanes)} keys, {self.fleet!r}>"
