# SPDX-License-Identifier: Apache-2.0
"""The waiting room and the division of shares."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.queue.batch_key_queue import BatchKeyQueue, DeadlineProfile
from matting_gateway.batching.queue.shares import Shares, max_min_fair
from matting_gateway.domain.job import BatchKey, Job, Priority

KEY = BatchKey("model", "1", ())


def entry(due_s: float, number: int, priority: Priority = Priority.NORMAL, rows: int = 1, tenant: str = "") -> Entry:
    made = Entry(Job(KEY, (), rows, due_s, priority, tenant), KEY, 0.0, None)
    made.seq = number
    return made


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.floats(0.0, 100.0), st.sampled_from(Priority), st.integers(1, 4)), max_size=200),
    st.randoms(use_true_random=False),
)
def test_a_lane_gives_by_priority_then_deadline_then_arrival(
    jobs: list[tuple[float, Priority, int]], draw: random.Random
) -> None:
    key_queue = BatchKeyQueue(KEY)
    entries = [entry(due_s, number, priority, rows) for number, (due_s, priority, rows) in enumerate(jobs, 1)]
    for one in entries:
        key_queue.push(one)
    gone = {one for one in entries if draw.random() < 0.6}
    for one in gone:
        key_queue.take((one,))
    expected = sorted((e for e in entries if e not in gone), key=lambda e: (e.priority, e.due_s, e.seq))
    assert list(key_queue) == expected
    assert (key_queue.count, key_queue.rows) == (len(expected), sum(e.rows for e in expected))
    for one in expected:
        assert key_queue.head() is one
        assert key_queue.head_of(one.priority) is one
        key_queue.take((one,))
    assert key_queue.head() is None


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.floats(0.0, 60.0), st.integers(1, 5)), max_size=80), st.floats(0.0, 60.0), st.floats(0, 1e6)
)
def test_rows_due_until_a_time_are_counted_to_the_bucket(
    jobs: list[tuple[float, int]], asked_s: float, now_s: float
) -> None:
    profile = DeadlineProfile(quantum_s=0.01, bucket_count=8192)
    entries = [entry(now_s + due_s, number, rows=rows) for number, (due_s, rows) in enumerate(jobs)]
    for one in entries:
        one.bucket = profile.add(one.due_s, now_s, one.rows)
    counted = profile.rows_due_until(now_s + asked_s, now_s)
    assert sum(rows for due_s, rows in jobs if due_s <= asked_s - 0.011) <= counted
    assert counted <= sum(rows for due_s, rows in jobs if due_s <= asked_s + 0.011)
    profile.remove(entries)
    assert profile.rows_due_until(now_s + 1e9, now_s) == profile.total_rows == 0


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.0, 1000.0), min_size=1), st.floats(0.1, 1000.0))
def test_max_min_fair_division(demands: dict[str, float], rate: float) -> None:
    weights = {tenant: 1.0 + ord(tenant) % 3 for tenant in demands}
    fair = max_min_fair(demands, weights, rate)
    assert sum(fair.values()) <= rate * (1 + 1e-9)
    assert all(fair[tenant] <= demands[tenant] for tenant in demands)
    assert sum(fair.values()) == pytest.approx(min(rate, sum(demands.values())))
    total_weight = sum(weights.values())
    for tenant, demand in demands.items():
        assert fair[tenant] >= min(demand, rate * weights[tenant] / total_weight) * (1 - 1e-9)


def test_shares_follow_demand_within_a_tenant_and_weights_between_tenants() -> None:
    shares = Shares({"big": 3.0, "small": 1.0}.__getitem__, window_s=1.0)
    for tick in range(3000):
        now_s = tick / 1000
        shares.note_demand(shares.flow(Priority.NORMAL, "big", 0.3), 2, now_s)
        shares.note_demand(shares.flow(Priority.NORMAL, "small", 0.3), 1, now_s)
        shares.note_demand(shares.flow(Priority.NORMAL, "small", 2.0), 3, now_s)
    shares.refresh(100.0, 3.0)
    big, short, long = shares.flows.values()
    assert big.guaranteed_rate == pytest.approx(75.0)
    assert (short.guaranteed_rate, long.guaranteed_rate) == pytest.approx((6.25, 18.75), rel=0.01)
    assert shares.contended(Priority.NORMAL)
    shares.refresh(100.0, 60.0)
    assert not shares.flows
