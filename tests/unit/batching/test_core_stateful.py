# SPDX-License-Identifier: Apache-2.0
"""Random interleavings of everything that can happen to the scheduler's machine."""

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from matting_gateway.batching.core import SchedulerCore
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.outcomes import Drop, Fail, Refusal, Send
from matting_gateway.batching.server import Flight
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain import BatchKey, EndpointState, Job, Priority

KEYS = (BatchKey("a", "1", ()), BatchKey("a", "1", (), ("alpha",)), BatchKey("b", "1", ()), BatchKey("small", "1", ()))
STATES = {
    "a": (EndpointState("x", True, 2, 1, 4), EndpointState("y", True, 4, 2, 8)),
    "b": (EndpointState("x", True, 2, 2, 1),),
    "small": (EndpointState("y", True, 2, 1, 8),),
}


class Machine(RuleBasedStateMachine):
    """Plays the shell, and keeps a book of every job."""

    flights = Bundle("flights")
    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.healthy = {"x", "y"}
        self.core = self._core(BatchingSettings(max_waiting_count=30))
        self.failed_at: dict[Entry, str] = {}
        self.accepted: set[Entry] = set()
        self.answers: Counter[Entry] = Counter()
        self.flying: set[Flight] = set()

    def _core(self, settings: BatchingSettings) -> SchedulerCore:
        return SchedulerCore(self._endpoints, settings, stand_in=lambda key: KEYS[3] if key.model == "a" else None)

    @initialize(eager=st.booleans())
    def choose_when_second_slots_are_filled(self, eager: bool) -> None:
        if eager:
            self.core = self._core(
                BatchingSettings(max_waiting_count=30, prefetch_lead_s=100.0, prefetch_lead_share=100.0)
            )

    def _endpoints(self, key: BatchKey) -> tuple[EndpointState, ...]:
        return tuple(state for state in STATES[key.model] if state.endpoint in self.healthy)

    def _pump(self) -> list[Flight]:
        sent: list[Flight] = []
        for action in self.core.pump(self.now_s):
            if isinstance(action, Send):
                self._check_batch(action.flight)
                sent.append(action.flight)
                self.flying.add(action.flight)
            else:
                assert isinstance(action, Drop | Fail)
                self.answers[action.entry] += 1
        return sent

    def _check_batch(self, flight: Flight) -> None:
        entries = flight.entries
        assert flight.server.endpoint in self.healthy
        assert 0 < sum(entry.rows for entry in entries) <= flight.server.max_rows
        assert all(entry.key == flight.key and not entry.waiting for entry in entries)
        assert all(self.failed_at.get(entry) != flight.server.endpoint for entry in entries)
        order = [(entry.priority, entry.due_s) for entry in entries]
        assert order == sorted(order)
        # Who waits on in the same lane, and could have gone there, comes later.
        lane = self.core._groups[(flight.key.model, flight.key.version)].lanes[flight.key]
        first = next((e for e in lane if e.avoid is None and e.rows == 1), None)
        assert first is None or (first.priority, first.due_s) >= order[0]
        assert flight.patience_s > 0

    @rule(
        target=entries,
        key=st.sampled_from(KEYS),
        rows=st.integers(1, 5),
        allowed_s=st.sampled_from((0.0, 0.01, 0.05, 0.15, 0.3, 1.0, 60.0)),
        priority=st.sampled_from(Priority),
        tenant=st.sampled_from(("", "t", "u")),
    )
    def arrive(self, key: BatchKey, rows: int, allowed_s: float, priority: Priority, tenant: str) -> object:
        job = Job(key, (), rows, self.now_s + allowed_s, priority, tenant)
        outcome = self.core.arrive(job, None, self.now_s)
        if isinstance(outcome, Refusal):
            assert outcome.retry_after_s >= 0.0
            return multiple()
        self.accepted.add(outcome)
        return outcome

    @rule(allowed_s=st.sampled_from((0.04, 0.08, 0.2)))
    def crowd(self, allowed_s: float) -> None:
        for number in range(10):
            self.arrive(KEYS[0], 1, allowed_s * (1 + number % 4), Priority.NORMAL, "")

    @rule(target=flights)
    def pump(self) -> object:
        return multiple(*self._pump())

    @rule(entry=consumes(entries))
    def cancel(self, entry: Entry) -> None:
        if self.core.cancel(entry):
            self.answers[entry] += 1

    @rule(target=flights, flight=consumes(flights), after_s=st.sampled_from((0.0, 0.001, 0.03, 0.2)))
    def complete(self, flight: Flight, after_s: float) -> object:
        self.now_s += after_s
        self.flying.remove(flight)
        self.core.complete(flight, self.now_s)
        self.answers.update(flight.entries)
        return multiple(*self._pump())

    @rule(target=flights, flight=consumes(flights), retry=st.booleans())
    def fail(self, flight: Flight, retry: bool) -> object:
        self.flying.remove(flight)
        self.failed_at.update(dict.fromkeys(flight.entries, flight.server.endpoint))
        failures = self.core.fail(flight, self.now_s, retry=retry)
        self.answers.update(failure.entry for failure in failures)
        if not retry:
            assert len(failures) == len(flight.entries)
        return multiple(*self._pump())

    @rule(target=flights, after_s=st.sampled_from((0.001, 0.02, 0.1, 1.0)))
    def expire(self, after_s: float) -> object:
        self.now_s += after_s
        sent = self._pump()
        for entry in self.core.waiting_entries():
            assert entry.due_s >= self.now_s
        return multiple(*sent)

    @rule(target=flights, endpoint=st.sampled_from(("x", "y")))
    def flap(self, endpoint: str) -> object:
        self.healthy ^= {endpoint}
        self.core.endpoints_changed(self.now_s)
        return multiple(*self._pump())

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        waiting = self.core.waiting_entries()
        flying = [entry for flight in self.flying for entry in flight.entries]
        assert len(waiting) == self.core.waiting_count
        assert self.core.flights == self.flying
        open_entries = Counter(waiting) + Counter(flying)
        assert all(count == 1 for count in open_entries.values())
        assert all(count == 1 for count in self.answers.values())
        assert set(open_entries) | set(self.answers) == self.accepted
        assert not set(open_entries) & set(self.answers)

    def teardown(self) -> None:
        self.now_s += 0.01
        self._pump()
        while self.flying:
            flight = self.flying.pop()
            self.core.complete(flight, self.now_s)
            self.answers.update(flight.entries)
            self._pump()
        self.now_s += 1000.0
        self._pump()
        while self.flying:  # jobs that were tried although their deadlines seemed hopeless
            flight = self.flying.pop()
            self.core.complete(flight, self.now_s)
            self.answers.update(flight.entries)
            self._pump()
        assert self.core.waiting_count == 0
        assert set(self.answers) == self.accepted
        assert all(count == 1 for count in self.answers.values())
        for name, group in self.core._groups.items():
            assert all(profile.total_rows == 0 for profile in group._profiles), name
            assert all(flow.rows == 0 for flow in group.shares.flows.values())
            assert all(not server.inflight_count for server in group.fleet.servers.values())
            assert group.fleet._free == [0.0] * group.fleet.instance_count


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
