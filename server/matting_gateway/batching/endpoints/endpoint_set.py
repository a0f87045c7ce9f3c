# SPDX-License-Identifier: Apache-2.0
"""The endpoints of one model as the scheduler sees them: what runs where, and until when. Pure.

Clockwork's central controller is the model: since inference times are predictable, one place
knows when each instance will be free and decides late what it gets next.
"""

import heapq
import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

from matting_gateway.batching.endpoints.endpoint_model import IDLE, EndpointModel, InflightBatch, expected_end
from matting_gateway.batching.endpoints.probing import server_to_probe
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.latency.latency_model import LatencyTable
from matting_gateway.batching.latency.latency_tables import LatencyTables
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState

_STRAGGLING = 2.0  # a server that takes so many times as long as the others straggles
_COLD_GUESS_S = 0.05  # how long a batch of an unknown model is thought to take, until it is overdue


class EndpointSet:
    """Owns the servers of one model and their predicted ends.

    Invariants: `_free` holds one time for each instance of the healthy servers, sorted, 0.0 for
    an idle one. A server has at most one valid item in `_ready`, and has one exactly while it is
    healthy and has a free slot.
    """

    def __init__(self, settings: BatchingSettings) -> None:
        self._settings = settings
        self.servers: dict[str, EndpointModel] = {}
        self._free: list[float] = []
        self._ready: list[tuple[float, float, int, int, EndpointModel]] = []
        self._serial = itertools.count()
        self._common = LatencyTables()
        # Servers that were taken and found nothing that they may do, until the next pump.
        self._aside: list[EndpointModel] = []
        self.max_rows = 0
        self.instance_count = 0  # of the healthy servers

    def set_endpoints(self, states: Iterable[EndpointState], now_s: float) -> bool:
        """Take over the pool's view. Batches on endpoints that went away still come back.

        Returns whether any went away.
        """
        usable = {state.endpoint: state for state in states if state.healthy and state.slot_count > 0}
        lost = [e for e, server in self.servers.items() if e not in usable or not server.matches(usable[e])]
        for endpoint in lost:
            gone = self.servers.pop(endpoint)
            gone.healthy = False
            gone.version += 1
        for endpoint, state in usable.items():
            if endpoint not in self.servers:
                server = self.servers[endpoint] = EndpointModel(state)
                self._offer(server, now_s)
        self._free = sorted(end_s for server in self.servers.values() for end_s in server.ends)
        self.instance_count = len(self._free)
        self.max_rows = max((server.max_rows for server in self.servers.values()), default=0)
        return bool(lost)

    def can_serve(self, entry: Entry) -> bool:
        """Whether there is a server that an entry could be sent to, now or later."""
        return any(s.endpoint != entry.avoid and s.max_rows >= entry.rows for s in self.servers.values())

    def common_table(self, key: BatchKey) -> LatencyTable:
        """Return what is known of the key over all endpoints but stragglers: the prior of a new one's own table."""
        table = self._common.get(key)
        if table is None or table.max_rows < self.max_rows:
            table = LatencyTable(self.max_rows, table)
            self._common.put(key, table)
        return table

    def table(self, server: EndpointModel, key: BatchKey) -> LatencyTable:
        table = server.tables.get(key)
        if table is None:
            table = LatencyTable(server.max_rows, self._common.get(key))
            server.tables.put(key, table)
        return table

    def straggles(self, server: EndpointModel, key: BatchKey) -> bool:
        """Whether a server is believed to take far longer than the others."""
        own, common = server.tables.get(key), self._common.get(key)
        return (
            len(self.servers) > 1  # which it is compared with
            and own is not None
            and common is not None
            and own.warm
            and common.warm
            and own.predict(1) > _STRAGGLING * common.predict(1)
        )

    def start_of(self, position: int, now_s: float) -> float:
        """Return when the instance that is `position`-th to be free is free.

        Instances that are overdue stand first in `_free` but are expected later: the less overdue,
        the sooner. There are few, so their places among the others are searched one by one.
        """
        free = self._free
        idle_count = bisect_right(free, IDLE)
        if position < idle_count:
            return now_s
        live = bisect_left(free, now_s)
        overdue_before = 0
        for end_s in reversed(free[idle_count:live]):
            expected_s = expected_end(end_s, now_s)
            place = idle_count + overdue_before + bisect_left(free, expected_s, live) - live
            if place == position:
                return expected_s
            if place > position:
                break
            overdue_before += 1
        return free[live + position - idle_count - overdue_before]

    # --- which server wants a batch -------------------------------------------------------

    def may_be_ready(self, now_s: float) -> bool:
        """Whether `take_ready` is worth asking."""
        ready_s = self.next_ready_s()
        return ready_s is not None and ready_s <= now_s

    def take_ready(self, now_s: float) -> EndpointModel | None:
        """Take the server that should get the next batch now: idle before busy, quick before slow."""
        while self._ready and self._ready[0][0] <= now_s:
            _, _, _, version, server = heapq.heappop(self._ready)
            if version != server.version:
                continue
            if self._ready_at(server, now_s) <= now_s:
                return server
            self._offer(server, now_s)
        return None

    def put_back(self, server: EndpointModel, now_s: float) -> None:
        """Offer a taken server again, which found no work."""
        if server.healthy:
            self._offer(server, now_s)

    def set_aside(self, server: EndpointModel) -> None:
        """Keep a taken server that may do nothing of what waits out of the others' way until `bring_back`."""
        self._aside.append(server)

    def bring_back(self, now_s: float) -> None:
        """Offer again what was set aside: something else may wait now."""
        if self._aside:
            aside, self._aside = self._aside, []
            for server in aside:
                self.put_back(server, now_s)

    def next_ready_s(self) -> float | None:
        """Return when the next server will want a batch."""
        while self._ready and self._ready[0][3] != self._ready[0][4].version:
            heapq.heappop(self._ready)
        return self._ready[0][0] if self._ready and self._ready[0][0] < float("inf") else None

    def _offer(self, server: EndpointModel, now_s: float) -> None:
        server.version += 1
        if server.healthy and server.has_free_slot:
            item = (self._ready_at(server, now_s), server.quickest_s, next(self._serial), server.version, server)
            heapq.heappush(self._ready, item)

    def _ready_at(self, server: EndpointModel, now_s: float) -> float:
        """When the second slot is to be filled: just before the instance is free.

        Earlier, a batch would be smaller than it could be and its jobs committed before more
        urgent ones come (Symphony defers for the same reason); later, the instance would idle
        for the time of the transfer.
        """
        if len(server.running) < server.instance_count:
            return 0.0
        last = server.queued[-1] if server.queued else server.running[-1]
        table = server.tables.get(last.key)
        if table is None or not table.observation_count:
            return float("inf")  # nothing is known, or nothing any more, of when it ends
        share_s = self._settings.prefetch_lead_share * last.expected_s
        return server.free_at(now_s) - min(self._settings.prefetch_lead_s, share_s)

    # --- batches in flight --------------------------------------------------------------------------

    def server_to_probe(self, key: BatchKey, rows: int, now_s: float) -> EndpointModel | None:
        """Return where a job is to be tried that would be refused by what is believed, if anywhere."""
        return server_to_probe(self.servers.values(), key, rows, now_s, self._settings.probe_interval_s)

    def idle_server_to_probe(self, key: BatchKey, rows: int, now_s: float) -> EndpointModel | None:
        """Return the same of those that have nothing to do; there is none where everybody is busy."""
        if not self._free or self._free[0] != IDLE:
            return None
        idle = [server for server in self.servers.values() if not server.inflight_count]
        return server_to_probe(idle, key, rows, now_s, self._settings.probe_interval_s)

    def send(
        self, server: EndpointModel, key: BatchKey, entries: tuple[Entry, ...], now_s: float, *, probe: bool = False
    ) -> InflightBatch:
        """Put a batch on a server that was taken, or a probe on one with a free slot."""
        table = self.table(server, key)
        inflight_batch = InflightBatch(server, key, entries, now_s, probe=probe)
        if probe:
            server.probed_s = float("inf")
        inflight_batch.expected_s = table.predict(inflight_batch.rows) or _COLD_GUESS_S
        wait_s = server.free_at(now_s) - now_s
        settings = self._settings
        inflight_batch.patience_s = wait_s + (
            max(settings.min_patience_s, settings.patience_factor * table.predict_high(inflight_batch.rows))
            if table.warm
            else settings.cold_patience_s
        )
        before = server.ends
        server.add(inflight_batch, now_s)
        self._update(server, before)
        self._offer(server, now_s)
        return inflight_batch

    def finish(self, inflight_batch: InflightBatch, now_s: float, *, succeeded: bool) -> None:
        """Take a batch back, and learn from it if it succeeded."""
        server = inflight_batch.server
        before = server.ends
        if not inflight_batch.probe:
            server.seen_s[inflight_batch.key] = now_s
        elif succeeded and any(entry.due_s >= now_s for entry in inflight_batch.entries):
            server.probed_s = float("-inf")  # refusing it would have been wrong: the next may follow at once
        else:
            server.probed_s = now_s
        # One that overtook those before it says nothing of how long it was computed.
        if server.remove(inflight_batch, now_s) and succeeded:
            self._learn(inflight_batch, now_s - inflight_batch.started_s)
        self._update(server, before)
        self._offer(server, now_s)

    def _learn(self, inflight_batch: InflightBatch, seconds: float) -> None:
        """Learn what a batch took, for its server and for all.

        What all are believed to take is what the quick ones take: a straggler teaches only itself, and
        one that is surely far quicker than was thought of all shows what they can do.
        """
        server, key = inflight_batch.server, inflight_batch.key
        own, common = self.table(server, key), self.common_table(key)
        sure = server.tables.observe(key, inflight_batch.rows, seconds, probe=inflight_batch.probe)
        server.quickest_s = min(table.predict(1) for table in server.tables.tables())
        if len(self.servers) > 1:
            if sure and common.warm and _STRAGGLING * own.predict(1) < common.predict(1):
                common.rescale(own.predict(1) / common.predict(1))
            if self.straggles(server, key) and not all(self.straggles(s, key) for s in self.servers.values()):
                return
        self._common.observe(key, inflight_batch.rows, seconds, probe=inflight_batch.probe)

    def _update(self, server: EndpointModel, before: list[float]) -> None:
        if server.healthy:
            for end_s in before:
                del self._free[bisect_left(self._free, end_s)]
            for end_s in server.ends:
                insort(self._free, end_s)

    def rate(self, key: BatchKey) -> float:
        """Return the rows a second that all instances together can do of a key; 0.0 while unknown."""
        table = self.common_table(key)
        latency_s = table.predict(table.preferred_rows)
        return self.instance_count * table.preferred_rows / latency_s if latency_s else 0.0

    def forget(self, key: BatchKey) -> None:
        """Forget what was learned of a key that is not used any more."""
        self._common.forget(key)
        for server in self.servers.values():
            server.tables.forget(key)
            server.seen_s.pop(key, None)

    def __repr__(self) -> str:
        busy = sum(server.inflight_count for server in self.servers.values())
        return f"<EndpointSet of {len(self.servers)} endpoints, {busy} batches in flight>"
