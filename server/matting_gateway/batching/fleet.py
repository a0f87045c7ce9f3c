# SPDX-License-Identifier: Apache-2.0
"""The endpoints of one model as the scheduler sees them: what runs where, and until when. Pure.

Clockwork's central controller is the model: since inference times are predictable, one place
knows when each instance will be free and decides late what it gets next.
"""

import heapq
import itertools
from bisect import bisect_left, insort
from collections.abc import Iterable

from matting_gateway.batching.latency import LatencyTable
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.batching.waiting import Entry
from matting_gateway.domain import BatchKey, EndpointState

_COLD_GUESS_S = 0.05  # how long a batch of an unknown model is thought to take, until it is overdue
_IDLE = 0.0


class Flight:
    """A batch that was sent and is not yet back."""

    __slots__ = ("entries", "expected_s", "instance", "key", "patience_s", "rows", "sent_s", "server")

    def __init__(self, server: "Server", key: BatchKey, entries: tuple[Entry, ...], sent_s: float) -> None:
        self.server = server
        self.key = key
        self.entries = entries
        self.rows = sum(entry.rows for entry in entries)
        self.sent_s = sent_s
        self.instance = 0
        self.expected_s = 0.0
        self.patience_s = 0.0

    def __repr__(self) -> str:
        return f"<Flight of {self.rows} rows to {self.server.endpoint}>"


class Instance:
    """One of the instances that compute: the flights it has, in order, and its predicted end."""

    __slots__ = ("end_s", "flights", "last_answer_s")

    def __init__(self) -> None:
        self.flights: list[Flight] = []
        self.last_answer_s = 0.0
        self.end_s = _IDLE

    def free_at(self, now_s: float) -> float:
        """Return when it is thought free. An overdue one is expected to take as long again."""
        if not self.flights:
            return now_s
        return self.end_s if self.end_s >= now_s else 2.0 * now_s - self.end_s

    def predict_end(self) -> None:
        end_s = self.last_answer_s
        for flight in self.flights:
            end_s = max(end_s, flight.sent_s) + flight.expected_s
        self.end_s = end_s if self.flights else _IDLE


class Server:
    """One endpoint: its slots, instances and latency tables."""

    __slots__ = (
        "depth", "endpoint", "healthy", "inflight", "instances", "max_rows", "slot_count", "tables", "version",
    )  # fmt: skip

    def __init__(self, state: EndpointState) -> None:
        self.endpoint = state.endpoint
        self.healthy = True
        self.slot_count = state.slot_count
        self.max_rows = max(1, state.max_batch_size)
        self.instances = [Instance() for _ in range(max(1, state.instance_count))]
        self.depth = -(-state.slot_count // len(self.instances))
        self.inflight = 0
        self.version = 0
        self.tables: dict[BatchKey, LatencyTable] = {}

    def matches(self, state: EndpointState) -> bool:
        return (self.slot_count, len(self.instances), self.max_rows) == (
            state.slot_count,
            max(1, state.instance_count),
            max(1, state.max_batch_size),
        )

    def next_instance(self, now_s: float) -> int:
        """Return the index of the instance that will be free first."""
        return min(range(len(self.instances)), key=lambda i: (self.instances[i].free_at(now_s), i))

    def __repr__(self) -> str:
        return f"<Server {self.endpoint}: {self.inflight} of {self.slot_count} slots in use>"


class Fleet:
    """Owns the servers of one model and their predicted ends.

    Invariants: `_free` holds one time for each instance of the healthy servers, sorted, 0.0 for
    an idle one. A server has at most one valid item in `_ready`, and has one exactly while it is
    healthy and has a free slot.
    """

    def __init__(self, settings: BatchingSettings) -> None:
        self._settings = settings
        self.servers: dict[str, Server] = {}
        self._free: list[float] = []
        self._ready: list[tuple[float, float, int, int, Server]] = []
        self._serial = itertools.count()
        self._common: dict[BatchKey, LatencyTable] = {}
        self.max_rows = 0

    def set_endpoints(self, states: Iterable[EndpointState], now_s: float) -> None:
        """Take over the pool's view. Flights on endpoints that went away still come back."""
        usable = {state.endpoint: state for state in states if state.healthy and state.slot_count > 0}
        for endpoint in [e for e, server in self.servers.items() if e not in usable or not server.matches(usable[e])]:
            gone = self.servers.pop(endpoint)
            gone.healthy = False
            gone.version += 1
        for endpoint, state in usable.items():
            if endpoint not in self.servers:
                server = self.servers[endpoint] = Server(state)
                self._offer(server, now_s)
        self._free = sorted(instance.end_s for server in self.servers.values() for instance in server.instances)
        self.max_rows = max((server.max_rows for server in self.servers.values()), default=0)

    @property
    def instance_count(self) -> int:
        return len(self._free)

    def common_table(self, key: BatchKey) -> LatencyTable:
        """Return what is known of the key over all endpoints: the prior of a new endpoint's own table."""
        table = self._common.get(key)
        if table is None or table.max_rows < self.max_rows:
            table = self._common[key] = LatencyTable(self.max_rows, table)
        return table

    def table(self, server: Server, key: BatchKey) -> LatencyTable:
        table = server.tables.get(key)
        if table is None:
            table = server.tables[key] = LatencyTable(server.max_rows, self._common.get(key))
        return table

    def start_of(self, position: int, now_s: float) -> float:
        """Return when the instance that is `position`-th to be free is free."""
        end_s = self._free[position]
        if end_s == _IDLE:
            return now_s
        return end_s if end_s >= now_s else 2.0 * now_s - end_s

    # --- which server wants a batch -------------------------------------------------------

    def take_ready(self, now_s: float) -> Server | None:
        """Take the server that should get the next batch now: idle before busy, quick before slow."""
        while self._ready and self._ready[0][0] <= now_s:
            _, _, _, version, server = heapq.heappop(self._ready)
            if version != server.version:
                continue
            if self._ready_at(server, now_s) <= now_s:
                return server
            self._offer(server, now_s)
        return None

    def put_back(self, server: Server, now_s: float) -> None:
        """Offer a taken server again, which found no work."""
        if server.healthy:
            self._offer(server, now_s)

    def next_ready_s(self) -> float | None:
        """Return when the next server will want a batch."""
        while self._ready and self._ready[0][3] != self._ready[0][4].version:
            heapq.heappop(self._ready)
        return self._ready[0][0] if self._ready else None

    def _offer(self, server: Server, now_s: float) -> None:
        server.version += 1
        if server.healthy and server.inflight < server.slot_count:
            hint = min((table.predict(1) for table in server.tables.values()), default=0.0)
            item = (self._ready_at(server, now_s), hint, next(self._serial), server.version, server)
            heapq.heappush(self._ready, item)

    def _ready_at(self, server: Server, now_s: float) -> float:
        """When the second slot is to be filled: just before the instance is free.

        Earlier, a batch would be smaller than it could be and its jobs committed before more
        urgent ones come (Symphony defers for the same reason); later, the instance would idle
        for the time of the transfer.
        """
        ready_s = float("inf")
        for instance in server.instances:
            if not instance.flights:
                return 0.0
            if len(instance.flights) < server.depth:
                share = self._settings.prefetch_lead_share * instance.flights[-1].expected_s
                ready_s = min(ready_s, instance.free_at(now_s) - min(self._settings.prefetch_lead_s, share))
        return ready_s

    # --- flights --------------------------------------------------------------------------

    def send(self, server: Server, key: BatchKey, entries: tuple[Entry, ...], now_s: float) -> Flight:
        """Put a batch on a server that was taken."""
        flight = Flight(server, key, entries, now_s)
        table = self.table(server, key)
        flight.expected_s = table.predict(flight.rows) or _COLD_GUESS_S
        flight.instance = server.next_instance(now_s)
        instance = server.instances[flight.instance]
        wait_s = instance.free_at(now_s) - now_s
        settings = self._settings
        flight.patience_s = wait_s + (
            max(settings.min_patience_s, settings.patience_factor * table.predict_high(flight.rows))
            if table.warm
            else settings.cold_patience_s
        )
        server.inflight += 1
        instance.flights.append(flight)
        self._update(server, instance)
        self._offer(server, now_s)
        return flight

    def finish(self, flight: Flight, now_s: float, *, succeeded: bool) -> None:
        """Take a batch back, and learn from it if it succeeded."""
        server = flight.server
        instance = server.instances[flight.instance]
        if succeeded:
            first = instance.flights[0] is flight
            started_s = max(flight.sent_s, instance.last_answer_s) if first else flight.sent_s
            self.table(server, flight.key).observe(flight.rows, now_s - started_s)
            self.common_table(flight.key).observe(flight.rows, now_s - started_s)
        server.inflight -= 1
        instance.flights.remove(flight)
        instance.last_answer_s = now_s
        self._update(server, instance)
        self._offer(server, now_s)

    def _update(self, server: Server, instance: Instance) -> None:
        before = instance.end_s
        instance.predict_end()
        if server.healthy and instance.end_s != before:
            del self._free[bisect_left(self._free, before)]
            insort(self._free, instance.end_s)

    def __repr__(self) -> str:
        busy = sum(server.inflight for server in self.servers.values())
        return f"<Fleet of {len(self.servers)} endpoints, {self.instance_count} instances, {busy} batches in flight>"
