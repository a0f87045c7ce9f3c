# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.token_bucket import BucketLevel, Rate, full, refilled, take

RATE = Rate(per_s=10.0, burst=20.0)


def test_a_full_bucket_gives_its_burst_at_once() -> None:
    bucket, wait_s = take(RATE, full(RATE, 0.0), 0.0, 20.0)
    assert wait_s == 0
    assert refilled(RATE, bucket, 0.0) == 0


def test_an_empty_bucket_says_how_long_to_wait_and_loses_nothing() -> None:
    empty = BucketLevel(0.0, 0.0)
    assert take(RATE, empty, 0.0, 5.0) == (empty, 0.5)
    assert take(RATE, empty, 0.5, 5.0)[1] == 0


def test_it_fills_up_to_its_burst_and_no_further() -> None:
    assert refilled(RATE, BucketLevel(0.0, 0.0), 1000.0) == 20.0


def test_more_than_the_burst_passes_when_full_and_is_paid_off_afterwards() -> None:
    bucket, wait_s = take(RATE, full(RATE, 0.0), 0.0, 50.0)
    assert wait_s == 0
    assert take(RATE, bucket, 0.0, 1.0)[1] == pytest.approx(3.1)


def test_a_clock_that_stands_still_gives_nothing() -> None:
    assert refilled(RATE, BucketLevel(3.0, 5.0), 5.0) == 3.0


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 40)), max_size=60))
def test_over_any_time_no_more_is_taken_than_the_rate_and_one_burst(steps: list[tuple[float, float]]) -> None:
    bucket, now_s, taken = full(RATE, 0.0), 0.0, 0.0
    for pause_s, amount in steps:
        now_s += pause_s
        bucket, wait_s = take(RATE, bucket, now_s, amount)
        if wait_s == 0:
            # What is over the burst is debt, which later takers wait for.
            assert taken <= RATE.burst + RATE.per_s * now_s + 1e-6
            taken += amount


@given(st.floats(-100, 20), st.floats(0.01, 100))
def test_the_wait_told_is_the_wait_needed(level: float, amount: float) -> None:
    bucket = BucketLevel(level, 0.0)
    _, wait_s = take(RATE, bucket, 0.0, amount)
    assert take(RATE, bucket, wait_s + 1e-9, amount)[1] == pytest.approx(0.0, abs=1e-6)
