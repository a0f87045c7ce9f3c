# SPDX-License-Identifier: Apache-2.0
"""One endpoint as the scheduler sees it: which batches it has, and when its instances will be free. Pure."""

from bisect import insort
from collections import deque

from matting_gateway.batching.entry import Entry
from matting_gateway.batching.latency.latency_tables import LatencyTables
from matting_gateway.domain.job import BatchKey, EndpointState

IDLE = 0.0


class InflightBatch:
    """A batch that was sent and is not yet back."""

    __slots__ = ("entries", "expected_s", "key", "patience_s", "probe", "rows", "sent_s", "server", "started_s")

    def __init__(
        self, server: "EndpointModel", key: BatchKey, entries: tuple[Entry, ...], sent_s: float, *, probe: bool = False
    ) -> None:
        self.server = server
        # Whether it is sent to find out how long it takes, against what is believed.
        self.probe = probe
        self.key = key
        self.entries = entries
        self.rows = sum([entry.rows for entry in entries])
        self.sent_s = sent_s
        self.started_s = sent_s
        self.expected_s = 0.0
        self.patience_s = 0.0

    def __repr__(self) -> str:
        return f"<InflightBatch of {self.rows} rows to {self.server.endpoint}>"


class EndpointModel:
    """One endpoint: its slots, its latency tables, and what its instances do.

    Modelled as what Triton is: one queue, first come first served, before `instance_count`
    instances. `quickest_s` is what its quickest single call is thought to take. Invariants:
    `running` has at most `instance_count` batches, `queued` is empty while it has fewer; `ends`
    has one predicted end for each instance, sorted, 0.0 for an idle one. `probed_s` is when the last probe
    came back, infinity while one is on its way; `seen_s` when others last came back, by key.
    """

    __slots__ = (
        "endpoint",
        "ends",
        "healthy",
        "instance_count",
        "max_rows",
        "probed_s",
        "queued",
        "quickest_s",
        "running",
        "seen_s",
        "slot_count",
        "tables",
        "version",
    )

    def __init__(self, state: EndpointState) -> None:
        self.endpoint = state.endpoint
        self.healthy = True
        self.slot_count = state.slot_count
        self.instance_count = max(1, state.instance_count)
        self.max_rows = max(1, state.max_batch_size)
        self.running: list[InflightBatch] = []
        self.queued: deque[InflightBatch] = deque()
        self.ends = [IDLE] * self.instance_count
        self.version = 0
        self.tables = LatencyTables()
        self.quickest_s = 0.0
        self.probed_s = float("-inf")
        self.seen_s: dict[BatchKey, float] = {}

    def matches(self, state: EndpointState) -> bool:
        described = (state.slot_count, max(1, state.instance_count), max(1, state.max_batch_size))
        return (self.slot_count, self.instance_count, self.max_rows) == described

    @property
    def inflight_count(self) -> int:
        return len(self.running) + len(self.queued)

    @property
    def has_free_slot(self) -> bool:
        return self.inflight_count < self.slot_count

    def is_better_left(self, rows: int) -> bool:
        """Whether it should rather end what it has than be sent so few rows more, which may grow to a batch meanwhile.

        Every batch has a fixed cost, which weighs the more the smaller the batch is.
        """
        return len(self.running) >= self.instance_count and 2 * rows < self.running[-1].rows

    def free_at(self, now_s: float) -> float:
        """Return when the next batch sent would be started."""
        soonest_s = self.ends[0]
        if soonest_s == IDLE:
            return now_s
        if soonest_s >= now_s:
            return soonest_s
        return min(expected_end(end_s, now_s) for end_s in self.ends)

    def add(self, inflight_batch: InflightBatch, now_s: float) -> None:
        if len(self.running) < self.instance_count:
            inflight_batch.started_s = now_s
            self.running.append(inflight_batch)
        else:
            self.queued.append(inflight_batch)
        self._predict()

    def remove(self, inflight_batch: InflightBatch, now_s: float) -> bool:
        """Take a batch out; returns whether it was known to run, and since when."""
        ran = inflight_batch in self.running
        if ran:
            self.running.remove(inflight_batch)
        else:
            self.queued.remove(inflight_batch)
        if self.queued and len(self.running) < self.instance_count:
            following = self.queued.popleft()
            following.started_s = now_s
            self.running.append(following)
        self._predict()
        return ran

    def _predict(self) -> None:
        ends = [inflight_batch.started_s + inflight_batch.expected_s for inflight_batch in self.running]
        ends += [IDLE] * (self.instance_count - len(ends))
        ends.sort()
        for inflight_batch in self.queued:
            insort(ends, ends.pop(0) + inflight_batch.expected_s)
        self.ends = ends

    def __repr__(self) -> str:
        return f"<Server {self.endpoint}: {self.inflight_count} of {self.slot_count} slots in use>"


def expected_end(end_s: float, now_s: float) -> float:
    """Return when an instance is free: now if idle; an overdue one is expected to take as long again."""
    if end_s == IDLE:
        return now_s
    return end_s if end_s >= now_s else 2.0 * now_s - end_s
