# SPDX-License-Identifier: Apache-2.0
"""Single decisions of the scheduler's machine, with times given by hand."""

import pytest
from matting_gateway.batching.core import SchedulerCore
from matting_gateway.batching.endpoints.endpoint_model import InflightBatch
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.outcomes import Drop, Reason, Refusal, Send
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Job, Priority

BIG = BatchKey("big", "1", ())
OTHER_SHAPE = BatchKey("big", "1", (), ("alpha",))
SMALL = BatchKey("small", "1", ())


class Bench:
    """A core, a clock moved by hand, and endpoints of a known latency."""

    def __init__(self, *endpoints: str, instance_count: int = 1, max_rows: int = 8, fallback: bool = False) -> None:
        self.now_s = 10.0
        self.endpoints = list(endpoints or ("a",))
        self.instance_count = instance_count
        self.max_rows = max_rows
        self.core = SchedulerCore(
            self._states, BatchingSettings(), (lambda key: SMALL if key == BIG else None) if fallback else None
        )

    def _states(self, key: BatchKey) -> tuple[EndpointState, ...]:
        return tuple(
            EndpointState(name, True, 2 * self.instance_count, self.instance_count, self.max_rows)
            for name in self.endpoints
        )

    def arrive(
        self, allowed_s: float = 5.0, key: BatchKey = BIG, rows: int = 1, priority: Priority = Priority.NORMAL
    ) -> Entry | Refusal:
        return self.core.arrive(Job(key, (), rows, self.now_s + allowed_s, priority), None, self.now_s)

    def pump(self) -> list[InflightBatch]:
        return [action.inflight_batch for action in self.core.pump(self.now_s) if isinstance(action, Send)]

    def teach(self, key: BatchKey = BIG, seconds: float = 0.1, batch_count: int = 4) -> None:
        """Let batches of one row be answered after so many seconds."""
        for _ in range(batch_count * len(self.endpoints)):
            self.arrive(60.0, key)
            (inflight_batch,) = self.pump()
            self.now_s += seconds
            self.core.complete(inflight_batch, self.now_s)
        self.now_s += 1.0


def test_an_idle_endpoint_gets_a_job_at_once() -> None:
    bench = Bench()
    bench.arrive()
    assert [inflight_batch.rows for inflight_batch in bench.pump()] == [1]


def test_the_second_slot_is_filled_just_before_the_instance_is_free() -> None:
    bench = Bench()
    bench.teach(seconds=0.1)
    bench.arrive()
    (first,) = bench.pump()
    bench.now_s += 0.05
    bench.arrive()
    assert bench.pump() == []
    wake_s = bench.core.wake_at()
    assert wake_s == pytest.approx(first.sent_s + 0.1 - 0.01)
    bench.now_s = wake_s or 0.0
    assert len(bench.pump()) == 1


def test_a_server_that_has_a_large_batch_is_not_sent_a_small_one_beside_it() -> None:
    bench = Bench()
    bench.teach(seconds=0.1)
    for _ in range(5):
        bench.arrive()
    (first,) = bench.pump()
    assert first.rows == 5
    bench.arrive()
    bench.arrive()
    bench.now_s = first.sent_s + first.expected_s
    assert bench.pump() == []
    bench.arrive()
    assert [inflight_batch.rows for inflight_batch in bench.pump()] == [3]


def test_priority_goes_before_deadline() -> None:
    bench = Bench(max_rows=1)
    bench.arrive()
    (first,) = bench.pump()
    low, urgent, high = bench.arrive(2.0), bench.arrive(1.0), bench.arrive(9.0, priority=Priority.HIGH)
    order: list[Entry] = []
    inflight_batch = first
    for _ in range(3):
        bench.now_s += 0.01
        bench.core.complete(inflight_batch, bench.now_s)
        (inflight_batch,) = bench.pump()
        order += inflight_batch.entries
    assert order == [high, urgent, low]


def test_of_two_idle_endpoints_the_quicker_is_chosen() -> None:
    bench = Bench("a", "b")
    for _ in range(8):
        bench.arrive()
        bench.arrive()
        while inflight_batches := bench.pump():
            for inflight_batch in inflight_batches:
                bench.now_s += 0.2 if inflight_batch.server.endpoint == "a" else 0.01
                bench.core.complete(inflight_batch, bench.now_s)
    bench.now_s += 1.0
    bench.arrive()
    assert [inflight_batch.server.endpoint for inflight_batch in bench.pump()] == ["b"]


def test_patience_is_generous_at_first_and_follows_the_latency_then() -> None:
    bench = Bench()
    bench.arrive()
    (inflight_batch,) = bench.pump()
    assert inflight_batch.patience_s == BatchingSettings().cold_patience_s
    bench.core.complete(inflight_batch, bench.now_s + 0.1)
    bench.now_s += 0.1
    bench.teach(seconds=0.1)
    bench.arrive()
    (inflight_batch,) = bench.pump()
    assert 1.0 <= inflight_batch.patience_s < 2.0


def test_a_deadline_too_near_is_unreachable_and_still_tried_now_and_then() -> None:
    bench = Bench()
    bench.teach(seconds=0.5)
    assert isinstance(bench.arrive(0.2), Entry)  # one a second is let through, in case the model got quicker
    refusal = bench.arrive(0.2)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.UNREACHABLE
    (inflight_batch,) = bench.pump()
    assert len(inflight_batch.entries) == 1
    bench.now_s += 0.5  # as slow as ever
    bench.core.complete(inflight_batch, bench.now_s)
    assert isinstance(bench.arrive(0.2), Refusal)
    bench.now_s += 1.0
    assert isinstance(bench.arrive(0.2), Entry)


def test_asking_whether_a_job_would_be_let_in_spends_nothing() -> None:
    bench = Bench()
    bench.teach(seconds=0.5)
    for _ in range(10):
        assert bench.core.check(BIG, 1, bench.now_s + 0.2, Priority.NORMAL, "", bench.now_s) is None
    assert isinstance(bench.arrive(0.2), Entry)
    assert bench.core.check(BIG, 1, bench.now_s + 0.2, Priority.NORMAL, "", bench.now_s) is not None


def test_a_try_whose_caller_leaves_before_it_is_sent_is_left_to_the_next() -> None:
    bench = Bench()
    bench.teach(seconds=0.5)
    entry = bench.arrive(0.2)
    assert isinstance(entry, Entry)
    assert bench.core.cancel(entry)
    assert bench.pump() == []
    assert isinstance(bench.arrive(0.2), Entry)


@pytest.mark.parametrize("fails", [False, True])
def test_a_try_that_is_late_or_fails_is_followed_by_another_after_a_while(fails: bool) -> None:
    bench = Bench()
    bench.teach(seconds=0.5)
    bench.arrive(0.2)
    (inflight_batch,) = bench.pump()
    bench.now_s += 0.5
    assert isinstance(bench.arrive(0.2), Refusal)  # one at a time
    if fails:
        assert len(bench.core.fail(inflight_batch, bench.now_s, retry=True)) == 1
    else:
        bench.core.complete(inflight_batch, bench.now_s)
    assert isinstance(bench.arrive(0.2), Refusal)
    bench.now_s += BatchingSettings().probe_interval_s
    assert isinstance(bench.arrive(0.2), Entry)


def test_tries_that_are_in_time_follow_one_another_until_it_is_believed() -> None:
    bench = Bench()
    bench.teach(seconds=0.5)
    for _ in range(3):
        bench.arrive(0.2)
        (inflight_batch,) = bench.pump()
        assert isinstance(bench.arrive(0.2), Refusal)
        bench.now_s += 0.1
        bench.core.complete(inflight_batch, bench.now_s)
    assert [isinstance(bench.arrive(0.5), Entry) for _ in range(4)] == [True] * 4


def test_a_machine_that_is_quick_again_is_so_for_every_key() -> None:
    bench = Bench()
    keys = [BatchKey("big", "1", (), (str(number),)) for number in range(20)]
    for key in keys:
        bench.teach(key, seconds=0.5)
    for key in keys[:3]:
        bench.arrive(0.2, key)
        (inflight_batch,) = bench.pump()
        bench.now_s += 0.1
        bench.core.complete(inflight_batch, bench.now_s)
    for key in keys:
        assert bench.core.check(key, 4, bench.now_s + 0.3, Priority.NORMAL, "", bench.now_s) is None


def test_a_straggler_gives_nobody_up_who_is_in_time_elsewhere() -> None:
    bench = Bench("a", "b", max_rows=1)
    for _ in range(12):  # both get their share of the work, and one takes ten times as long
        bench.arrive()
        bench.arrive()
        inflight_batches = bench.pump()
        sent_s = bench.now_s
        for inflight_batch in sorted(
            inflight_batches, key=lambda inflight_batch: inflight_batch.server.endpoint, reverse=True
        ):
            bench.now_s = sent_s + (0.5 if inflight_batch.server.endpoint == "a" else 0.05)
            bench.core.complete(inflight_batch, bench.now_s)
        while inflight_batches := bench.pump():
            bench.now_s += 0.05
            for inflight_batch in inflight_batches:
                bench.core.complete(inflight_batch, bench.now_s)
    bench.now_s += 1.0
    first, second = bench.arrive(0.2), bench.arrive(0.2)
    bench.now_s += 0.001
    inflight_batches = bench.pump()
    assert [inflight_batch.server.endpoint for inflight_batch in inflight_batches] == ["b"]
    waiting = bench.core.waiting_entries()
    assert len(waiting) + inflight_batches[0].rows == 2
    third = bench.arrive(0.2)
    assert bench.pump() == []  # the straggler is idle, and is not sent what it cannot do
    assert third in bench.core.waiting_entries()
    assert isinstance(first, Entry)
    assert isinstance(second, Entry)


def test_a_queue_too_long_is_overload_with_the_time_to_come_back() -> None:
    bench = Bench(max_rows=1)
    bench.teach(seconds=0.1)
    outcomes = [bench.arrive(0.55) for _ in range(20)]
    bench.pump()
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    assert 3 <= 20 - len(refusals) <= 6
    assert all(refusal.reason is Reason.OVERLOADED and refusal.retry_after_s > 0 for refusal in refusals)
    assert bench.core.check(BIG, 1, bench.now_s + 0.55, Priority.NORMAL, "", bench.now_s) is not None
    assert bench.core.check(BIG, 1, bench.now_s + 5.0, Priority.NORMAL, "", bench.now_s) is None


def test_the_stand_in_serves_before_anyone_is_refused() -> None:
    bench = Bench(max_rows=1, fallback=True)
    bench.teach(BIG, 0.1)
    bench.teach(SMALL, 0.02)
    outcomes = [bench.arrive(0.4) for _ in range(8)]
    assert {outcome.key for outcome in outcomes if isinstance(outcome, Entry)} == {BIG, SMALL}
    assert all(isinstance(outcome, Entry) for outcome in outcomes)
    assert {inflight_batch.key for inflight_batch in bench.pump()} == {BIG, SMALL}


def test_a_job_given_up_moves_to_its_stand_in() -> None:
    bench = Bench(fallback=True)
    bench.teach(SMALL, 0.01)
    bench.teach(BIG, 0.1)
    bench.arrive()
    (first,) = bench.pump()
    waiting = bench.arrive(0.3)
    bench.now_s += 0.25
    (inflight_batch,) = [inflight_batch for inflight_batch in bench.pump() if inflight_batch is not first]
    assert (inflight_batch.key, inflight_batch.entries) == (SMALL, (waiting,))


def test_keys_of_one_model_share_its_slots_by_deadline() -> None:
    bench = Bench()
    bench.arrive()
    (first,) = bench.pump()
    late, early = bench.arrive(3.0, BIG), bench.arrive(2.0, OTHER_SHAPE)
    bench.now_s += 0.01
    bench.core.complete(first, bench.now_s)
    (second,) = bench.pump()
    assert second.entries == (early,)
    bench.now_s += 0.01
    bench.core.complete(second, bench.now_s)
    assert [inflight_batch.entries for inflight_batch in bench.pump()] == [(late,)]


def test_models_do_not_wait_for_one_another() -> None:
    bench = Bench()
    for _ in range(20):
        bench.arrive(key=BIG)
    bench.arrive(key=SMALL)
    assert {inflight_batch.key for inflight_batch in bench.pump()} == {BIG, SMALL}


def test_a_model_without_batches_is_served_by_single_calls_at_once() -> None:
    bench = Bench(instance_count=3, max_rows=0)
    for _ in range(5):
        bench.arrive()
    assert [inflight_batch.rows for inflight_batch in bench.pump()] == [1, 1, 1]


def test_rows_of_a_job_travel_together() -> None:
    bench = Bench()
    bench.arrive()
    (first,) = bench.pump()
    for rows in (3, 4, 2):
        bench.arrive(rows=rows)
    bench.now_s += 0.01
    bench.core.complete(first, bench.now_s)
    (inflight_batch,) = bench.pump()
    assert [entry.rows for entry in inflight_batch.entries] == [3, 4]


def test_an_overdue_instance_is_not_counted_on() -> None:
    bench = Bench()
    bench.teach(seconds=0.05)
    bench.arrive()
    bench.pump()
    bench.now_s += 1.0  # the answer is long overdue
    refusal = bench.arrive(0.3)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.OVERLOADED


def test_endpoints_that_go_and_come_are_followed() -> None:
    bench = Bench("a", "b")
    bench.arrive()
    (inflight_batch,) = bench.pump()
    bench.endpoints.remove(inflight_batch.server.endpoint)
    bench.core.endpoints_changed(bench.now_s)
    assert bench.core.fail(inflight_batch, bench.now_s, retry=True) == []
    (again,) = bench.pump()
    assert again.server.endpoint == bench.endpoints[0]
    bench.endpoints.clear()
    bench.core.endpoints_changed(bench.now_s)
    refusal = bench.arrive()
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.UNAVAILABLE


def drops(bench: Bench) -> list[tuple[Entry, Reason]]:
    return [(action.entry, action.reason) for action in bench.core.pump(bench.now_s) if isinstance(action, Drop)]


def test_whoever_waits_hears_within_a_tenth_of_a_second_that_no_endpoint_is_left() -> None:
    bench = Bench(max_rows=1)
    bench.arrive()
    (inflight_batch,) = bench.pump()
    waiting = [bench.arrive() for _ in range(15)]
    bench.endpoints.clear()
    bench.core.endpoints_changed(bench.now_s)
    lost_s = bench.now_s
    assert len(bench.core.fail(inflight_batch, bench.now_s, retry=True)) == 1
    assert drops(bench) == []
    wake_s = bench.core.wake_at()
    assert wake_s is not None
    assert wake_s < lost_s + 0.1
    bench.now_s = wake_s
    assert drops(bench) == [(entry, Reason.UNAVAILABLE) for entry in waiting]


def test_whoever_waits_is_served_by_an_endpoint_that_comes_in_the_same_moment() -> None:
    bench = Bench(max_rows=1)
    bench.arrive()
    bench.pump()
    waiting = bench.arrive()
    bench.endpoints.clear()
    bench.core.endpoints_changed(bench.now_s)
    bench.now_s += 0.02
    bench.endpoints.append("b")
    bench.core.endpoints_changed(bench.now_s)
    bench.now_s += 0.02
    (inflight_batch,) = bench.pump()
    assert (inflight_batch.server.endpoint, inflight_batch.entries) == ("b", (waiting,))
    bench.now_s += 1.0
    bench.core.complete(inflight_batch, bench.now_s)
    assert drops(bench) == []


def test_a_job_that_one_endpoint_lost_hears_that_the_other_is_gone_as_well() -> None:
    bench = Bench("a", "b", max_rows=1)
    for _ in range(2):
        bench.arrive()
    inflight_batches = bench.pump()
    lost = next(inflight_batch for inflight_batch in inflight_batches if inflight_batch.server.endpoint == "a")
    assert bench.core.fail(lost, bench.now_s, retry=True) == []  # to be tried at b, which is busy
    bench.endpoints.remove("b")
    bench.core.endpoints_changed(bench.now_s)
    bench.now_s += 0.1
    assert drops(bench) == [(lost.entries[0], Reason.UNAVAILABLE)]


def test_low_priority_is_told_by_its_deadline_though_others_always_go_first() -> None:
    bench = Bench(max_rows=1)
    bench.teach(seconds=0.1)
    low = bench.arrive(1.0, priority=Priority.LOW)
    drops: list[Drop] = []
    inflight_batches: list[InflightBatch] = []
    while not drops and bench.now_s < 100.0:
        bench.arrive(5.0, priority=Priority.HIGH)
        bench.now_s += 0.05
        for inflight_batch in inflight_batches[:1]:
            bench.core.complete(inflight_batch, bench.now_s)
            inflight_batches.remove(inflight_batch)
        for action in bench.core.pump(bench.now_s):
            if isinstance(action, Send):
                inflight_batches.append(action.inflight_batch)
            elif isinstance(action, Drop):
                drops.append(action)
    assert isinstance(low, Entry)
    assert [drop.entry for drop in drops] == [low]
    assert bench.now_s <= low.job.deadline_s


def test_a_key_that_is_forgotten_while_its_batch_is_in_flight_does_no_harm() -> None:
    bench = Bench()
    bench.teach(seconds=0.1)
    bench.arrive()
    (first,) = bench.pump()
    for number in range(300):  # more shapes than are remembered
        entry = bench.arrive(key=BatchKey("big", "1", (), (str(number),)))
        assert isinstance(entry, Entry)
        assert bench.core.cancel(entry)
    bench.arrive()
    bench.now_s += 0.095
    assert bench.pump() == []
    bench.core.complete(first, bench.now_s + 0.005)
    assert len(bench.pump()) == 1
