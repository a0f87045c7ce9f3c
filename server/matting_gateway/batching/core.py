# SPDX-License-Identifier: Apache-2.0
"""The scheduler as a machine: events with their time go in, what to do comes out.

It has no clock and does no I/O, so that the asyncio scheduler and the simulator drive the very
same code. `scheduler.Scheduler` is the shell.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from matting_gateway.batching.endpoints.endpoint_model import EndpointModel, InflightBatch
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.offered_load import OfferedLoad
from matting_gateway.batching.outcomes import Action, Admission, Drop, Fail, Reason, Refusal, Send, Verdict
from matting_gateway.batching.queue import policy
from matting_gateway.batching.queue.batch_key_queue import BatchKeyQueue
from matting_gateway.batching.queue.model_queue import AdmissionRequest, ModelQueue
from matting_gateway.batching.queue.shares import Flow
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Job, Priority

Endpoints: TypeAlias = Callable[[BatchKey], Sequence[EndpointState]]
FallbackModel: TypeAlias = Callable[[BatchKey], BatchKey | None]
Weight: TypeAlias = Callable[[str], float]


class SchedulerCore:
    """Owns every waiting job and every flight.

    Invariants: a job that was taken is either waiting or in one flight, until the one action, or
    the one `complete`, that ends it. Events must come in order of time; after each, `pump` says
    what to do and `wake_at` when to ask again.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        settings: BatchingSettings,
        stand_in: FallbackModel | None = None,
        tenant_weight: Weight | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._stand_in = stand_in or (lambda _: None)
        self._weight = tenant_weight or (lambda _: 1.0)
        self._groups: dict[tuple[str, str], ModelQueue] = {}
        self._seq = 0
        self._displaced: list[Action] = []
        self.load = OfferedLoad()
        # Jobs that are to be tried, and where, from their arrival to the next pump.
        self._probes: list[tuple[Entry, EndpointModel]] = []
        self.waiting_count = 0
        self.flights: set[InflightBatch] = set()

    # --- arrival --------------------------------------------------------------------------

    def check(
        self, key: BatchKey, rows: int, deadline_s: float, priority: Priority, tenant: str, now_s: float
    ) -> Refusal | None:
        """Return why a job would be refused now, or None. It changes nothing, however often it is asked.

        What is written down on the way (the pool's view of a model that nobody asked for before, tables that have
        seen nothing) holds nothing of who asks, and is the same whoever asks first.
        """
        wish = AdmissionRequest(key, rows, deadline_s - self._settings.reply_margin_s, priority, tenant)
        verdict = self._judge(wish, now_s)
        if isinstance(verdict, Admission) or self._stand_in_for(wish, now_s) is not None:
            return None
        return verdict

    def turned_away(
        self, key: BatchKey, rows: int, deadline_s: float, priority: Priority, tenant: str, now_s: float
    ) -> None:
        """Count to the demand what was refused by `check` and so will not arrive."""
        self._note_demand(
            AdmissionRequest(key, rows, deadline_s - self._settings.reply_margin_s, priority, tenant), now_s
        )

    def arrive(self, job: Job, token: Any, now_s: float) -> Entry | Refusal:
        """Take a job in, or refuse it. `token` is the shell's, and comes back with the entry."""
        wish = AdmissionRequest(
            job.key, job.row_count, job.deadline_s - self._settings.reply_margin_s, job.priority, job.tenant
        )
        flow = self._note_demand(wish, now_s)
        verdict = self._judge(wish, now_s)
        key = job.key
        if isinstance(verdict, Refusal):
            other = self._stand_in_for(wish, now_s)
            if other is None:
                return verdict
            key, verdict, flow = other, Admission(), None
        for loser in verdict.displaced:
            self._give_up(loser, Reason.DISPLACED, now_s, self._displaced)
        entry = Entry(job, key, wish.due_s, now_s, token)
        entry.entitled = verdict.entitled
        self._wait(entry, now_s, flow)
        if verdict.probe is not None:
            verdict.probe.probed_s = float("inf")
            self._probes.append((entry, verdict.probe))
        return entry

    def _judge(self, wish: AdmissionRequest, now_s: float, *, may_displace: bool = True) -> Verdict:
        group = self._group(wish.key, now_s)
        if group is None:
            return Refusal(Reason.UNAVAILABLE, retry_after_s=1.0)
        verdict = group.judge(wish, now_s, may_displace=may_displace)
        if isinstance(verdict, Admission) and self.waiting_count >= self._settings.max_waiting_count:
            return Refusal(Reason.OVERLOADED, retry_after_s=max(wish.due_s - now_s, 0.001))
        return verdict

    def _stand_in_for(self, wish: AdmissionRequest, now_s: float) -> BatchKey | None:
        """Return the key that would serve instead without being late or displacing anybody."""
        other = self._stand_in(wish.key)
        if other is None:
            return None
        verdict = self._judge(wish._replace(key=other), now_s, may_displace=False)
        return other if isinstance(verdict, Admission) and verdict.probe is None else None

    def _note_demand(self, wish: AdmissionRequest, now_s: float) -> Flow | None:
        """Count what is asked for, granted or not; return the flow that the newcomer is of, if its model is known."""
        group = self._groups.get((wish.key.model, wish.key.version))
        if group is None:
            return None
        self.load.note(wish.rows, group.fleet.rate(wish.key), now_s)
        return group.note_demand(wish, now_s)

    def _group(self, key: BatchKey, now_s: float) -> ModelQueue | None:
        name = (key.model, key.version)
        group = self._groups.get(name)
        if group is None or not group.fleet.instance_count:
            states = self._endpoints(key)
            if group is None:
                if not any(state.healthy for state in states):
                    return None
                group = self._groups[name] = ModelQueue(key, self._settings, self._weight)
            group.fleet.set_endpoints(states, now_s)
        return group

    def _wait(self, entry: Entry, now_s: float, flow: Flow | None = None) -> None:
        group = self._groups[(entry.key.model, entry.key.version)]
        if flow is None:
            flow = group.shares.flow(entry.priority, entry.job.tenant, entry.due_s - entry.arrived_s)
        self._seq += 1
        entry.seq = self._seq
        group.join(entry, flow, now_s)
        self.waiting_count += 1

    # --- other events ---------------------------------------------------------------------

    def cancel(self, entry: Entry) -> bool:
        """Remove a job whose caller went away; False if it does not wait any more."""
        if not entry.waiting:
            entry.abandoned = True
            return False
        group = self._groups[(entry.key.model, entry.key.version)]
        group.leave(group.lanes[entry.key], (entry,))
        self.waiting_count -= 1
        return True

    def complete(self, flight: InflightBatch, now_s: float) -> None:
        """Note that a batch came back with its answer, which the shell hands to the callers."""
        self._finish(flight, now_s, succeeded=True)

    def fail(self, flight: InflightBatch, now_s: float, *, retry: bool) -> list[Fail]:
        """Note that a batch failed: its jobs wait once more for another endpoint, or fail."""
        group = self._finish(flight, now_s, succeeded=False)
        failures: list[Fail] = []
        endpoint = flight.server.endpoint
        for entry in flight.entries:
            again = retry and entry.avoid is None and not entry.abandoned and group.hopeless_at(entry) > now_s
            entry.avoid = endpoint
            if again and group.fleet.can_serve(entry):
                self._wait(entry, now_s)
            else:
                failures.append(Fail(entry))
        return failures

    def _finish(self, flight: InflightBatch, now_s: float, *, succeeded: bool) -> ModelQueue:
        self.flights.remove(flight)
        group = self._groups[(flight.key.model, flight.key.version)]
        group.fleet.finish(flight, now_s, succeeded=succeeded)
        return group

    def endpoints_changed(self, now_s: float) -> None:
        """Take over the pool's view of every model."""
        for group in self._groups.values():
            group.set_endpoints(self._endpoints(group.example), now_s)

    def waiting_entries(self) -> list[Entry]:
        """Return every job that waits: for closing, and for tests."""
        return [entry for group in self._groups.values() for lane in group.lanes.values() for entry in lane]

    # --- what to do now -------------------------------------------------------------------

    def pump(self, now_s: float) -> list[Action]:
        """Return what is to be sent and who is to be given up now."""
        actions, self._displaced = self._displaced, []
        if self._probes:
            self._send_probes(now_s, actions)
        # A job given up may move to its stand-in's group, which may be new.
        for group in list(self._groups.values()):
            group.fleet.bring_back(now_s)
            if group.lost_s is not None:
                for entry in group.take_stranded(now_s):
                    self._give_up(entry, Reason.UNAVAILABLE, now_s, actions)
            self._expire(group, now_s, actions)
        for group in list(self._groups.values()):
            group.stuck = False
            while group.fleet.may_be_ready(now_s) and not group.stuck:
                lane = group.first_lane()
                server = None if lane is None else group.fleet.take_ready(now_s)
                if lane is None or server is None:
                    break
                if server.is_better_left(lane.rows):
                    group.fleet.put_back(server, now_s)
                    group.stuck = True
                else:
                    self._serve(group, lane, server, now_s, actions)
        return actions

    def _serve(
        self, group: ModelQueue, lane: BatchKeyQueue, server: EndpointModel, now_s: float, actions: list[Action]
    ) -> None:
        """Send a server the best batch of a lane, and give up who is too late for it."""
        plan = policy.form_batch(
            lane,
            group.fleet.table(server, lane.key),
            server.endpoint,
            server.free_at(now_s),
            server.max_rows,
            straggles=group.fleet.straggles(server, lane.key),
        )
        self.waiting_count -= len(plan.batch) + len(plan.hopeless)
        group.leave(lane, plan.hopeless)
        group.leave(lane, plan.batch)
        if plan.batch:
            self._send(group, server, plan.batch, now_s, actions)
        elif plan.hopeless:
            group.fleet.put_back(server, now_s)
        else:
            group.fleet.set_aside(server)
        for entry in plan.hopeless:
            self._settle(entry, Reason.EXPIRED, now_s, actions)

    def _send(
        self,
        group: ModelQueue,
        server: EndpointModel,
        entries: tuple[Entry, ...],
        now_s: float,
        actions: list[Action],
        *,
        probe: bool = False,
    ) -> None:
        flight = group.fleet.send(server, entries[0].key, entries, now_s, probe=probe)
        self.flights.add(flight)
        actions.append(Send(flight))

    def _send_probes(self, now_s: float, actions: list[Action]) -> None:
        """Send each job that is to be tried; one whose server has no room any more is given up like any other."""
        probes, self._probes = self._probes, []
        for entry, server in probes:
            server.probed_s = float("-inf")  # nothing is spent by a job that is not sent
            if entry.waiting and entry.due_s > now_s and server.healthy and server.has_free_slot:
                self.cancel(entry)
                group = self._groups[(entry.key.model, entry.key.version)]
                self._send(group, server, (entry,), now_s, actions, probe=True)

    def _expire(self, group: ModelQueue, now_s: float, actions: list[Action]) -> None:
        while (entry := group.first_due()) is not None and group.hopeless_at(entry) <= now_s:
            self._give_up(entry, Reason.EXPIRED, now_s, actions)

    def _give_up(self, entry: Entry, reason: Reason, now_s: float, actions: list[Action]) -> None:
        if self.cancel(entry):
            self._settle(entry, reason, now_s, actions)

    def _settle(self, entry: Entry, reason: Reason, now_s: float, actions: list[Action]) -> None:
        """Let an idle server try a job that was given up, or the stand-in have it, or tell its caller."""
        if reason is Reason.EXPIRED and entry.due_s > now_s:
            group = self._groups[(entry.key.model, entry.key.version)]
            server = group.fleet.idle_server_to_probe(entry.key, entry.rows, now_s)
            if server is not None and server.endpoint != entry.avoid:
                self._send(group, server, (entry,), now_s, actions, probe=True)
                return
        if entry.key == entry.job.key:
            wish = AdmissionRequest(entry.key, entry.rows, entry.due_s, entry.priority, entry.job.tenant)
            other = self._stand_in_for(wish, now_s)
            if other is not None and self._groups[(other.model, other.version)].fleet.can_serve(entry):
                entry.key = other
                self._wait(entry, now_s)
                return
        actions.append(Drop(entry, reason))

    def has_full_batch(self) -> bool:
        """Return whether as many rows wait for some model as its batches should have."""
        for group in self._groups.values():
            lane = group.first_lane()
            if lane is not None and lane.rows >= group.fleet.common_table(lane.key).preferred_rows:
                return True
        return False

    def wake_at(self) -> float | None:
        """Return when `pump` is to be called next if no event comes before."""
        soonest_s: float | None = None
        for group in self._groups.values():
            entry = group.first_due()
            if entry is not None:
                wake_s = group.hopeless_at(entry)
                ready_s = None if group.stuck else group.fleet.next_ready_s()
                if ready_s is not None and ready_s < wake_s:
                    wake_s = ready_s
                if group.lost_s is not None and group.lost_s < wake_s:
                    wake_s = group.lost_s
                if soonest_s is None or wake_s < soonest_s:
                    soonest_s = wake_s
        return soonest_s

    def __repr__(self) -> str:
        return f"<SchedulerCore: {self.waiting_count} jobs wait, {len(self.flights)} batches in flight>"
