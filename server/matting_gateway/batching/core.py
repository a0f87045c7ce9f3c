# SPDX-License-Identifier: Apache-2.0
"""The scheduler as a machine: events with their time go in, what to do comes out.

It has no clock and does no I/O, so that the asyncio scheduler and the simulator drive the very
same code. `scheduler.Scheduler` is the shell.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from matting_gateway.batching.endpoints.endpoint_model import EndpointModel, InflightBatch
from matting_gateway.batching.entry import Entry, ResultReceiver
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
    """Owns every waiting job and every batch in flight.

    Invariants: a job that was taken is either waiting or in one batch in flight, until the one action, or
    the one `complete`, that ends it. Events must come in order of time; after each, `pump` says
    what to do and `wake_at` when to ask again.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        settings: BatchingSettings,
        fallback: FallbackModel | None = None,
        tenant_weight: Weight | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._fallback = fallback or (lambda _: None)
        self._weight = tenant_weight or (lambda _: 1.0)
        self._queues: dict[tuple[str, str], ModelQueue] = {}
        self._seq = 0
        self._displaced: list[Action] = []
        self.load = OfferedLoad()
        # Jobs that are to be tried, and where, from their arrival to the next pump.
        self._probes: list[tuple[Entry, EndpointModel]] = []
        self.waiting_count = 0
        self.inflight_batches: set[InflightBatch] = set()

    # --- arrival --------------------------------------------------------------------------

    def check(
        self, key: BatchKey, rows: int, deadline_s: float, priority: Priority, tenant: str, now_s: float
    ) -> Refusal | None:
        """Return why a job would be refused now, or None. It changes nothing, however often it is asked.

        What is written down on the way (the pool's view of a model that nobody asked for before, tables that have
        seen nothing) holds nothing of who asks, and is the same whoever asks first.
        """
        request = AdmissionRequest(key, rows, deadline_s, priority, tenant)
        verdict = self._judge(request, now_s)
        if isinstance(verdict, Admission) or self._fallback_for(request, now_s) is not None:
            return None
        return verdict

    def turned_away(
        self, key: BatchKey, rows: int, deadline_s: float, priority: Priority, tenant: str, now_s: float
    ) -> None:
        """Count to the demand what was refused by `check` and so will not arrive."""
        self._note_demand(AdmissionRequest(key, rows, deadline_s, priority, tenant), now_s)

    def arrive(self, job: Job, receiver: ResultReceiver | None, now_s: float) -> Entry | Refusal:
        """Take a job in, or refuse it. `receiver` is the shell's, and comes back with the entry."""
        request = AdmissionRequest(job.key, job.row_count, job.deadline_s, job.priority, job.tenant)
        flow = self._note_demand(request, now_s)
        verdict = self._judge(request, now_s)
        key = job.key
        if isinstance(verdict, Refusal):
            other = self._fallback_for(request, now_s)
            if other is None:
                return verdict
            key, verdict, flow = other, Admission(), None
        for loser in verdict.displaced:
            self._give_up(loser, Reason.DISPLACED, now_s, self._displaced)
        entry = Entry(job, key, now_s, receiver)
        entry.entitled = verdict.entitled
        self._wait(entry, now_s, flow)
        if verdict.probe is not None:
            verdict.probe.probed_s = float("inf")
            self._probes.append((entry, verdict.probe))
        return entry

    def _judge(self, request: AdmissionRequest, now_s: float, *, may_displace: bool = True) -> Verdict:
        queue = self._queue(request.key, now_s)
        if queue is None:
            return Refusal(Reason.UNAVAILABLE, retry_after_s=1.0)
        verdict = queue.judge(request, now_s, may_displace=may_displace)
        if isinstance(verdict, Admission) and self.waiting_count >= self._settings.max_waiting_count:
            return Refusal(Reason.OVERLOADED, retry_after_s=max(request.due_s - now_s, 0.001))
        return verdict

    def _fallback_for(self, request: AdmissionRequest, now_s: float) -> BatchKey | None:
        """Return the key that would serve instead without being late or displacing anybody."""
        other = self._fallback(request.key)
        if other is None:
            return None
        verdict = self._judge(request._replace(key=other), now_s, may_displace=False)
        return other if isinstance(verdict, Admission) and verdict.probe is None else None

    def _note_demand(self, request: AdmissionRequest, now_s: float) -> Flow | None:
        """Count what is asked for, granted or not; return the flow that the newcomer is of, if its model is known."""
        queue = self._queues.get((request.key.model, request.key.version))
        if queue is None:
            return None
        self.load.note(request.rows, queue.endpoint_set.rate(request.key), now_s)
        return queue.note_demand(request, now_s)

    def _queue(self, key: BatchKey, now_s: float) -> ModelQueue | None:
        name = (key.model, key.version)
        queue = self._queues.get(name)
        if queue is None or not queue.endpoint_set.instance_count:
            states = self._endpoints(key)
            if queue is None:
                if not any(state.healthy for state in states):
                    return None
                queue = self._queues[name] = ModelQueue(key, self._settings, self._weight)
            queue.endpoint_set.set_endpoints(states, now_s)
        return queue

    def _wait(self, entry: Entry, now_s: float, flow: Flow | None = None) -> None:
        queue = self._queues[(entry.key.model, entry.key.version)]
        if flow is None:
            flow = queue.shares.flow(entry.priority, entry.job.tenant, entry.due_s - entry.arrived_s)
        self._seq += 1
        entry.seq = self._seq
        queue.join(entry, flow, now_s)
        self.waiting_count += 1

    # --- other events ---------------------------------------------------------------------

    def cancel(self, entry: Entry) -> bool:
        """Remove a job whose caller went away; False if it does not wait any more."""
        if not entry.waiting:
            entry.abandoned = True
            return False
        queue = self._queues[(entry.key.model, entry.key.version)]
        queue.leave(queue.key_queues[entry.key], (entry,))
        self.waiting_count -= 1
        return True

    def complete(self, inflight_batch: InflightBatch, now_s: float) -> None:
        """Note that a batch came back with its answer, which the shell hands to the callers."""
        self._finish(inflight_batch, now_s, succeeded=True)

    def fail(self, inflight_batch: InflightBatch, now_s: float, *, retry: bool) -> list[Fail]:
        """Note that a batch failed: its jobs wait once more for another endpoint, or fail."""
        queue = self._finish(inflight_batch, now_s, succeeded=False)
        failures: list[Fail] = []
        endpoint = inflight_batch.server.endpoint
        for entry in inflight_batch.entries:
            again = retry and entry.avoid is None and not entry.abandoned and queue.hopeless_at(entry) > now_s
            entry.avoid = endpoint
            if again and queue.endpoint_set.can_serve(entry):
                self._wait(entry, now_s)
            else:
                failures.append(Fail(entry))
        return failures

    def _finish(self, inflight_batch: InflightBatch, now_s: float, *, succeeded: bool) -> ModelQueue:
        self.inflight_batches.remove(inflight_batch)
        queue = self._queues[(inflight_batch.key.model, inflight_batch.key.version)]
        queue.endpoint_set.finish(inflight_batch, now_s, succeeded=succeeded)
        return queue

    def endpoints_changed(self, now_s: float) -> None:
        """Take over the pool's view of every model."""
        for queue in self._queues.values():
            queue.set_endpoints(self._endpoints(queue.example), now_s)

    def waiting_entries(self) -> list[Entry]:
        """Return every job that waits: for closing, and for tests."""
        return [
            entry for queue in self._queues.values() for key_queue in queue.key_queues.values() for entry in key_queue
        ]

    # --- what to do now -------------------------------------------------------------------

    def pump(self, now_s: float) -> list[Action]:
        """Return what is to be sent and who is to be given up now."""
        actions, self._displaced = self._displaced, []
        if self._probes:
            self._send_probes(now_s, actions)
        # A job given up may move to the queue of its fallback model, which may be new.
        for queue in list(self._queues.values()):
            queue.endpoint_set.bring_back(now_s)
            if queue.lost_s is not None:
                for entry in queue.take_stranded(now_s):
                    self._give_up(entry, Reason.UNAVAILABLE, now_s, actions)
            self._expire(queue, now_s, actions)
        for queue in list(self._queues.values()):
            queue.stuck = False
            while queue.endpoint_set.may_be_ready(now_s) and not queue.stuck:
                key_queue = queue.first_key_queue()
                server = None if key_queue is None else queue.endpoint_set.take_ready(now_s)
                if key_queue is None or server is None:
                    break
                if server.is_better_left(key_queue.rows):
                    queue.endpoint_set.put_back(server, now_s)
                    queue.stuck = True
                else:
                    self._serve(queue, key_queue, server, now_s, actions)
        return actions

    def _serve(
        self, queue: ModelQueue, key_queue: BatchKeyQueue, server: EndpointModel, now_s: float, actions: list[Action]
    ) -> None:
        """Send a server the best batch of a key's queue, and give up who is too late for it."""
        plan = policy.form_batch(
            key_queue,
            queue.endpoint_set.table(server, key_queue.key),
            server.endpoint,
            server.free_at(now_s),
            server.max_rows,
            straggles=queue.endpoint_set.straggles(server, key_queue.key),
        )
        self.waiting_count -= len(plan.batch) + len(plan.hopeless)
        queue.leave(key_queue, plan.hopeless)
        queue.leave(key_queue, plan.batch)
        if plan.batch:
            self._send(queue, server, plan.batch, now_s, actions)
        elif plan.hopeless:
            queue.endpoint_set.put_back(server, now_s)
        else:
            queue.endpoint_set.set_aside(server)
        for entry in plan.hopeless:
            self._settle(entry, Reason.EXPIRED, now_s, actions)

    def _send(
        self,
        queue: ModelQueue,
        server: EndpointModel,
        entries: tuple[Entry, ...],
        now_s: float,
        actions: list[Action],
        *,
        probe: bool = False,
    ) -> None:
        inflight_batch = queue.endpoint_set.send(server, entries[0].key, entries, now_s, probe=probe)
        self.inflight_batches.add(inflight_batch)
        actions.append(Send(inflight_batch))

    def _send_probes(self, now_s: float, actions: list[Action]) -> None:
        """Send each job that is to be tried; one whose server has no room any more is given up like any other."""
        probes, self._probes = self._probes, []
        for entry, server in probes:
            server.probed_s = float("-inf")  # nothing is spent by a job that is not sent
            if entry.waiting and entry.due_s > now_s and server.healthy and server.has_free_slot:
                self.cancel(entry)
                queue = self._queues[(entry.key.model, entry.key.version)]
                self._send(queue, server, (entry,), now_s, actions, probe=True)

    def _expire(self, queue: ModelQueue, now_s: float, actions: list[Action]) -> None:
        while (entry := queue.first_due()) is not None and queue.hopeless_at(entry) <= now_s:
            self._give_up(entry, Reason.EXPIRED, now_s, actions)

    def _give_up(self, entry: Entry, reason: Reason, now_s: float, actions: list[Action]) -> None:
        if self.cancel(entry):
            self._settle(entry, reason, now_s, actions)

    def _settle(self, entry: Entry, reason: Reason, now_s: float, actions: list[Action]) -> None:
        """Let an idle server try a job that was given up, or the fallback model have it, or tell its caller."""
        if reason is Reason.EXPIRED and entry.due_s > now_s:
            queue = self._queues[(entry.key.model, entry.key.version)]
            server = queue.endpoint_set.idle_server_to_probe(entry.key, entry.rows, now_s)
            if server is not None and server.endpoint != entry.avoid:
                self._send(queue, server, (entry,), now_s, actions, probe=True)
                return
        if entry.key == entry.job.key:
            request = AdmissionRequest(entry.key, entry.rows, entry.due_s, entry.priority, entry.job.tenant)
            other = self._fallback_for(request, now_s)
            if other is not None and self._queues[(other.model, other.version)].endpoint_set.can_serve(entry):
                entry.key = other
                self._wait(entry, now_s)
                return
        actions.append(Drop(entry, reason))

    def has_full_batch(self) -> bool:
        """Return whether as many rows wait for some model as its batches should have."""
        for queue in self._queues.values():
            key_queue = queue.first_key_queue()
            if (
                key_queue is not None
                and key_queue.rows >= queue.endpoint_set.common_table(key_queue.key).preferred_rows
            ):
                return True
        return False

    def wake_at(self) -> float | None:
        """Return when `pump` is to be called next if no event comes before."""
        soonest_s: float | None = None
        for queue in self._queues.values():
            entry = queue.first_due()
            if entry is not None:
                wake_s = queue.hopeless_at(entry)
                ready_s = None if queue.stuck else queue.endpoint_set.next_ready_s()
                if ready_s is not None and ready_s < wake_s:
                    wake_s = ready_s
                if queue.lost_s is not None and queue.lost_s < wake_s:
                    wake_s = queue.lost_s
                if soonest_s is None or wake_s < soonest_s:
                    soonest_s = wake_s
        return soonest_s

    def __repr__(self) -> str:
        return f"<SchedulerCore: {self.waiting_count} jobs wait, {len(self.inflight_batches)} batches in flight>"
