# SPDX-License-Identifier: Apache-2.0
"""The scheduler as a machine: events with their time go in, what to do comes out.

It has no clock and does no I/O, so that the asyncio scheduler and the simulator drive the very
same code. `scheduler.Scheduler` is the shell.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from matting_gateway.batching import policy
from matting_gateway.batching.fleet import Fleet, Flight, Server
from matting_gateway.batching.policy import Reason
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.batching.waiting import DeadlineProfile, Entry, Lane
from matting_gateway.domain import BatchKey, EndpointState, Job, Priority

Endpoints: TypeAlias = Callable[[BatchKey], Sequence[EndpointState]]


@dataclass(frozen=True, slots=True)
class Send:
    """Send this batch."""

    flight: Flight


@dataclass(frozen=True, slots=True)
class Drop:
    """Tell this waiting job's caller that it cannot be answered in time."""

    entry: Entry
    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """Tell this job's caller that its batch failed and will not be tried again."""

    entry: Entry


Action: TypeAlias = Send | Drop | Fail


@dataclass(frozen=True, slots=True)
class Refusal:
    """A job that is not taken, and when it might be."""

    reason: Reason
    retry_after_s: float = 0.0
    max_rows: int = 0


class Group:
    """What one model's jobs share: its fleet, and the order of its lanes."""

    def __init__(self, settings: BatchingSettings) -> None:
        self.fleet = Fleet(settings)
        self.lanes: dict[BatchKey, Lane] = {}
        # One item for each change of a lane's head; only those that still name a head count.
        self.heads: list[tuple[int, float, int, Lane]] = []
        self.profiles = [DeadlineProfile() for _ in Priority]
        self.probed_s = float("-inf")
        # Whether the next server found nothing that it may take; another event must come first.
        self.stuck = False

    def note_head(self, lane: Lane) -> None:
        entry = lane.head()
        if entry is not None:
            heapq.heappush(self.heads, (entry.job.priority, entry.due_s, entry.seq, lane))

    def first_lane(self) -> Lane | None:
        while self.heads:
            lane = self.heads[0][3]
            head = lane.head()
            if head is not None and head.seq == self.heads[0][2]:
                return lane
            heapq.heappop(self.heads)
        return None

    def rows_ahead(self, priority: Priority, due_s: float, now_s: float) -> int:
        rows = self.profiles[priority].rows_due_until(due_s, now_s)
        return rows + sum(profile.total_rows for profile in self.profiles[:priority])


class SchedulerCore:
    """Owns every waiting job and every flight.

    Invariants: a job is in exactly one of waiting, in flight, gone; each leaves once, by an
    action that this class returned. Events must come in order of time.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        settings: BatchingSettings,
        stand_in: Callable[[BatchKey], BatchKey | None] | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._stand_in = stand_in or (lambda _: None)
        self._groups: dict[tuple[str, str], Group] = {}
        self._seq = 0
        self._expiries: list[tuple[float, int, Entry]] = []
        self.waiting_count = 0
        self.flights: set[Flight] = set()

    # --- arrival --------------------------------------------------------------------------

    def check(self, key: BatchKey, rows: int, deadline_s: float, priority: Priority, now_s: float) -> Refusal | None:
        """Return why a job would be refused now, or None."""
        refusal = self._verdict(key, rows, deadline_s, priority, now_s)
        if refusal is not None:
            other = self._stand_in(key)
            if other is not None and self._verdict(other, rows, deadline_s, priority, now_s) is None:
                return None
        return refusal

    def arrive(self, job: Job, token: Any, now_s: float) -> Entry | Refusal:
        """Take a job in, or refuse it. `pump` then says what to send."""
        key = job.key
        refusal = self._verdict(key, job.row_count, job.deadline_s, job.priority, now_s)
        if refusal is not None:
            other = self._stand_in(key)
            if other is None or self._verdict(other, job.row_count, job.deadline_s, job.priority, now_s) is not None:
                return refusal
            key = other
        self._seq += 1
        entry = Entry(job, key, job.deadline_s - self._settings.reply_margin_s, now_s, self._seq, token)
        self._wait(entry, now_s)
        return entry

    def _verdict(self, key: BatchKey, rows: int, deadline_s: float, priority: Priority, now_s: float) -> Refusal | None:
        group = self._group(key, now_s)
        fleet = group.fleet
        due_s = deadline_s - self._settings.reply_margin_s
        if not fleet.instance_count:
            return Refusal(Reason.UNAVAILABLE, retry_after_s=1.0)
        if rows > fleet.max_rows:
            return Refusal(Reason.TOO_MANY_ROWS, max_rows=fleet.max_rows)
        if due_s <= now_s:
            return Refusal(Reason.UNREACHABLE)
        prediction = policy.forecast(
            fleet, fleet.common_table(key), group.rows_ahead(priority, due_s, now_s), rows, now_s
        )
        if prediction.reliable and prediction.alone_end_s > due_s:
            if now_s - group.probed_s < self._settings.probe_interval_s:
                return Refusal(Reason.UNREACHABLE)
            group.probed_s = now_s
        elif prediction.reliable and prediction.end_s > due_s:
            return Refusal(Reason.OVERLOADED, retry_after_s=prediction.end_s - due_s)
        if self.waiting_count >= self._settings.max_waiting_count:
            return Refusal(Reason.OVERLOADED, retry_after_s=max(prediction.end_s - now_s, 0.1))
        return None

    def _group(self, key: BatchKey, now_s: float) -> Group:
        name = (key.model, key.version)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(self._settings)
        if key not in group.lanes:
            group.lanes[key] = Lane(key)
        if not group.fleet.instance_count:
            group.fleet.set_endpoints(self._endpoints(key), now_s)
        return group

    def _wait(self, entry: Entry, now_s: float) -> None:
        group = self._group(entry.key, now_s)
        lane = group.lanes[entry.key]
        lane.push(entry)
        if lane.head() is entry:
            group.note_head(lane)
        entry.bucket = group.profiles[entry.priority].add(entry.due_s, now_s, entry.rows)
        self.waiting_count += 1
        if len(self._expiries) > 2 * self.waiting_count + 64:
            self._expiries = [item for item in self._expiries if item[2].waiting]
            heapq.heapify(self._expiries)
        heapq.heappush(self._expiries, (self._hopeless_at(group, entry), entry.seq, entry))

    def _left(self, group: Group, entry: Entry) -> None:
        group.profiles[entry.priority].remove(entry.bucket, entry.rows)
        self.waiting_count -= 1

    # --- other events ---------------------------------------------------------------------

    def cancel(self, entry: Entry) -> bool:
        """Remove a job whose caller went away; False if it does not wait any more."""
        if not entry.waiting:
            return False
        group = self._groups[(entry.key.model, entry.key.version)]
        lane = group.lanes[entry.key]
        lane.remove(entry)
        self._left(group, entry)
        group.note_head(lane)
        return True

    def complete(self, flight: Flight, now_s: float) -> None:
        """Note that a batch came back with its answer, whose jobs the shell now answers."""
        self.flights.remove(flight)
        self._groups[(flight.key.model, flight.key.version)].fleet.finish(flight, now_s, succeeded=True)

    def fail(self, flight: Flight, now_s: float, *, retry: bool) -> list[Fail]:
        """Note that a batch failed: its jobs wait once more for another endpoint, or fail."""
        self.flights.remove(flight)
        group = self._groups[(flight.key.model, flight.key.version)]
        group.fleet.finish(flight, now_s, succeeded=False)
        actions: list[Fail] = []
        endpoint = flight.server.endpoint
        elsewhere = any(
            name != endpoint and server.max_rows >= flight.rows for name, server in group.fleet.servers.items()
        )
        latency = group.fleet.common_table(flight.key)
        for entry in flight.entries:
            in_time = now_s + (latency.predict(entry.rows) if latency.warm else 0.0) < entry.due_s
            if retry and elsewhere and in_time and entry.avoid is None:
                entry.avoid = endpoint
                self._wait(entry, now_s)
            else:
                actions.append(Fail(entry))
        return actions

    def endpoints_changed(self, now_s: float) -> None:
        """Take over the pool's view of every model."""
        for group in self._groups.values():
            for key in list(group.lanes)[:1]:
                group.fleet.set_endpoints(self._endpoints(key), now_s)

    def waiting_entries(self) -> list[Entry]:
        """Return every job that waits: for closing, and for tests."""
        return [entry for group in self._groups.values() for lane in group.lanes.values() for entry in lane.entries()]

    # --- what to do now -------------------------------------------------------------------

    def pump(self, now_s: float) -> list[Action]:
        """Return what is to be sent and who is to be given up now."""
        actions: list[Action] = []
        self._give_up(now_s, actions)
        for group in self._groups.values():
            group.stuck = False
            while group.first_lane() is not None:
                server = group.fleet.take_ready(now_s)
                if server is None:
                    break
                if not self._send(group, server, now_s, actions):
                    group.fleet.put_back(server, now_s)
                    group.stuck = True
                    break
        return actions

    def _send(self, group: Group, server: Server, now_s: float, actions: list[Action]) -> bool:
        lane = group.first_lane()
        if lane is None:
            return False
        start_s = server.instances[server.next_instance(now_s)].free_at(now_s)
        plan = policy.form_batch(lane, group.fleet.table(server, lane.key), server.endpoint, start_s, server.max_rows)
        for entry in plan.batch:
            self._left(group, entry)
        for entry in plan.hopeless:
            self._left(group, entry)
            actions.append(Drop(entry, Reason.EXPIRED))
        group.note_head(lane)
        if not plan.batch:
            return False
        flight = group.fleet.send(server, lane.key, plan.batch, now_s)
        self.flights.add(flight)
        actions.append(Send(flight))
        return True

    def _give_up(self, now_s: float, actions: list[Action]) -> None:
        expiries = self._expiries
        while expiries and (expiries[0][0] <= now_s or not expiries[0][2].waiting):
            entry = heapq.heappop(expiries)[2]
            if not entry.waiting:
                continue
            group = self._groups[(entry.key.model, entry.key.version)]
            hopeless_s = self._hopeless_at(group, entry)
            if hopeless_s > now_s:  # the model got quicker since
                heapq.heappush(expiries, (hopeless_s, entry.seq, entry))
            elif self.cancel(entry):
                actions.append(Drop(entry, Reason.EXPIRED))

    def _hopeless_at(self, group: Group, entry: Entry) -> float:
        table = group.fleet.common_table(entry.key)
        needed_s = table.predict(entry.rows) if table.warm and group.fleet.instance_count else 0.0
        return max(entry.due_s - needed_s, entry.arrived_s + 1e-3)

    def wake_at(self) -> float | None:
        """Return when `pump` is to be called next if no event comes before."""
        expiries = self._expiries
        while expiries and not expiries[0][2].waiting:
            heapq.heappop(expiries)
        times = [expiries[0][0]] if expiries else []
        for group in self._groups.values():
            if not group.stuck and group.first_lane() is not None:
                ready_s = group.fleet.next_ready_s()
                if ready_s is not None:
                    times.append(ready_s)
        return min(times, default=None)

    def __repr__(self) -> str:
        return f"<SchedulerCore: {self.waiting_count} jobs wait, {len(self.flights)} batches in flight>"
