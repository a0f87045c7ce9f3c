# SPDX-License-Identifier: Apache-2.0
"""Plays the shell of the scheduler's machine, and keeps a book of every job, for tests of random interleavings."""

from collections import Counter

from matting_gateway.batching.core import SchedulerCore
from matting_gateway.batching.endpoints.endpoint_model import InflightBatch
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.outcomes import Drop, Fail, Reason, Refusal, Send
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Job, Priority

# The first two share a model; the third has one row to a batch; the last stands in for the first model.
KEYS = (BatchKey("a", "1", ()), BatchKey("a", "1", (), ("alpha",)), BatchKey("b", "1", ()), BatchKey("small", "1", ()))
STATES = {
    "a": (EndpointState("x", True, 2, 1, 4), EndpointState("y", True, 4, 2, 8)),
    "b": (EndpointState("x", True, 2, 2, 1),),
    "small": (EndpointState("y", True, 2, 1, 8),),
}
# What a caller in a hurry allows, and what a batch takes when all is well.
HURRY_S = 0.04
QUICK_S = 0.01


class SchedulerPlay:
    """Events happen to a machine, which is held to its promises after each.

    `eager` fills second slots at once, where the machine would wait until just before they are needed;
    `watches_asking` holds it to changing nothing when it is asked, which takes time.
    """

    def __init__(self, *, eager: bool, watches_asking: bool = True) -> None:
        settings = BatchingSettings(max_waiting_count=30)
        if eager:
            settings = BatchingSettings(max_waiting_count=30, prefetch_lead_s=100.0, prefetch_lead_share=100.0)
        self.now_s = 100.0
        self.healthy = {"x", "y"}
        self.core = SchedulerCore(self._endpoints, settings, fallback=lambda key: KEYS[3] if key.model == "a" else None)
        self.flying: list[InflightBatch] = []
        self.accepted: list[Entry] = []
        self.answers: Counter[Entry] = Counter()
        self._watches_asking = watches_asking
        self._failed_at: dict[Entry, str] = {}

    def _endpoints(self, key: BatchKey) -> tuple[EndpointState, ...]:
        return tuple(state for state in STATES[key.model] if state.endpoint in self.healthy)

    # --- events ---------------------------------------------------------------------------

    def arrive(self, key: BatchKey, rows: int, allowed_s: float, priority: Priority, tenant: str) -> Entry | None:
        """Ask for a job and then submit it, as the pipeline does, which decodes a photo in between."""
        deadline_s = self.now_s + allowed_s
        before = self._decision_state() if self._watches_asking else {}
        asked = self.core.check(key, rows, deadline_s, priority, tenant, self.now_s)
        if before:  # what is new is the pool's view of a model that nobody asked for before
            assert {name: state for name, state in self._decision_state().items() if name in before} == before
        outcome = self.core.arrive(Job(key, (), rows, deadline_s, priority, tenant), None, self.now_s)
        if isinstance(outcome, Refusal):
            assert outcome.retry_after_s >= 0.0
            # What it asks for itself may be more than its share; nothing else has happened since it was let in.
            assert asked is not None or outcome.reason is Reason.OVERLOADED
            return None
        self.accepted.append(outcome)
        return outcome

    def crowd(self, allowed_s: float) -> None:
        for number in range(10):
            self.arrive(KEYS[0], 1, allowed_s * (1 + number % 4), Priority.NORMAL, "")

    def cancel(self, entry: Entry) -> None:
        if self.core.cancel(entry):
            self.answers[entry] += 1

    def complete(self, inflight_batch: InflightBatch, after_s: float) -> list[InflightBatch]:
        self.now_s += after_s
        self.flying.remove(inflight_batch)
        self.core.complete(inflight_batch, self.now_s)
        self.answers.update(inflight_batch.entries)
        return self.pump()

    def fail(self, inflight_batch: InflightBatch, *, retry: bool) -> list[InflightBatch]:
        self.flying.remove(inflight_batch)
        self._failed_at.update(dict.fromkeys(inflight_batch.entries, inflight_batch.server.endpoint))
        failures = self.core.fail(inflight_batch, self.now_s, retry=retry)
        self.answers.update(failure.entry for failure in failures)
        if not retry:
            assert len(failures) == len(inflight_batch.entries)
        return self.pump()

    def expire(self, after_s: float) -> list[InflightBatch]:
        self.now_s += after_s
        sent = self.pump()
        for entry in self.core.waiting_entries():
            assert entry.due_s >= self.now_s
            queue = self.core._queues[(entry.key.model, entry.key.version)]
            assert queue.endpoint_set.can_serve(entry) or (queue.lost_s is not None and queue.lost_s > self.now_s)
        return sent

    def flap(self, endpoint: str) -> list[InflightBatch]:
        self.healthy ^= {endpoint}
        self.core.endpoints_changed(self.now_s)
        return self.pump()

    def pump(self) -> list[InflightBatch]:
        sent: list[InflightBatch] = []
        newest = self.core._seq
        for action in self.core.pump(self.now_s):
            if isinstance(action, Send):
                self._check_batch(action.inflight_batch, newest)
                sent.append(action.inflight_batch)
            else:
                assert isinstance(action, Drop | Fail)
                self.answers[action.entry] += 1
        self.flying += sent
        return sent

    # --- promises -------------------------------------------------------------------------

    def _decision_state(self) -> dict[object, object]:
        """Return what decisions are made from, by model, as values that can be compared."""
        return {
            name: (
                [(key_queue.key, key_queue.rows) for key_queue in queue.key_queues.values()],
                [
                    (server.endpoint, server.probed_s, list(server.ends))
                    for server in queue.endpoint_set.servers.values()
                ],
                [(flow.key, flow.rows, flow._tokens, flow.guaranteed_rate) for flow in queue.shares.flows.values()],
                queue.shares._refreshed_s,
            )
            for name, queue in self.core._queues.items()
        }

    def _check_batch(self, inflight_batch: InflightBatch, newest: int) -> None:
        entries = inflight_batch.entries
        assert inflight_batch.server.endpoint in self.healthy
        assert 0 < sum(entry.rows for entry in entries) <= inflight_batch.server.max_rows
        assert all(entry.key == inflight_batch.key and not entry.waiting for entry in entries)
        assert all(self._failed_at.get(entry) != inflight_batch.server.endpoint for entry in entries)
        order = [(entry.priority, entry.due_s) for entry in entries]
        assert order == sorted(order)
        queue = self.core._queues[(inflight_batch.key.model, inflight_batch.key.version)]
        if queue.endpoint_set.straggles(inflight_batch.server, inflight_batch.key):
            return  # those before may be in time elsewhere only
        # Who waits on in the same lane, and could have gone there, comes later; one given up elsewhere
        # may have come to this lane, as to its stand-in, after the batch was formed.
        key_queue = queue.key_queues[inflight_batch.key]
        if inflight_batch.probe:  # which goes before others, to a server that would have stood idle
            assert len(entries) == 1
            assert inflight_batch.patience_s > 0
            return
        first = next((e for e in key_queue if e.avoid is None and e.rows == 1 and e.seq <= newest), None)
        assert first is None or (first.priority, first.due_s) >= order[0]
        assert inflight_batch.patience_s > 0

    def check(self) -> None:
        """Every job that was taken is in exactly one place: it waits, flies, is about to hear, or was answered once."""
        waiting = self.core.waiting_entries()
        assert len(waiting) == self.core.waiting_count
        assert len(self.flying) == len(self.core.inflight_batches)
        assert self.core.inflight_batches.issuperset(self.flying)
        open_entries = [*waiting, *(entry for inflight_batch in self.flying for entry in inflight_batch.entries)]
        # Who had to give way to a newcomer hears of it with the next pump.
        open_entries += [action.entry for action in self.core._displaced if isinstance(action, Drop)]
        assert len(set(open_entries)) == len(open_entries)
        assert not self.answers or max(self.answers.values()) == 1
        assert len(open_entries) + len(self.answers) == len(self.accepted)
        assert {*open_entries, *self.answers} == set(self.accepted)

    def end(self) -> None:
        """Let everything come to its end: nobody is left without an answer, and no slot, row or share is still held."""
        for seconds in (0.01, 1000.0):
            self.now_s += seconds
            self.pump()
            while self.flying:  # also those that are tried although their deadlines seem hopeless
                self.complete(self.flying[-1], 0.0)
        self.check()
        assert self.core.waiting_count == 0
        assert len(self.answers) == len(self.accepted)
        for name, queue in self.core._queues.items():
            assert all(profile.total_rows == 0 for profile in queue._profiles), name
            assert all(flow.rows == 0 for flow in queue.shares.flows.values())
            assert all(not server.inflight_count for server in queue.endpoint_set.servers.values())
            assert queue.endpoint_set._free == [0.0] * queue.endpoint_set.instance_count

    def recover(self) -> None:
        """However slow everything was: once it is quick, a caller in a hurry is let in for good after 20 calls."""
        self.healthy = {"x", "y"}
        self.core.endpoints_changed(self.now_s)
        for key in KEYS:
            for _ in range(20):  # rarely so many
                self.now_s += 0.1
                self.arrive(key, 1, HURRY_S, Priority.NORMAL, "")
                for _ in range(2):  # at once, and when the machine wants to be called again
                    self.pump()
                    while self.flying:
                        self.complete(self.flying[-1], QUICK_S)
                    self.now_s = max(self.now_s, self.core.wake_at() or 0.0)
                if self._lets_in_whoever_hurries(key):
                    break
            else:
                raise AssertionError(f"{key} does not recover")

    def _lets_in_whoever_hurries(self, key: BatchKey) -> bool:
        """Whether a job in a hurry is taken, and would be sent at once, because it is believed to be in time."""
        if self.core.check(key, 1, self.now_s + HURRY_S, Priority.NORMAL, "", self.now_s) is not None:
            return False
        endpoint_set = self.core._queues[(key.model, key.version)].endpoint_set
        tables = [
            endpoint_set.common_table(key),
            *(endpoint_set.table(server, key) for server in endpoint_set.servers.values()),
        ]
        common, *own = (table.predict_high(1) if table.warm else 0.0 for table in tables)
        return common < HURRY_S and min(own) < HURRY_S
