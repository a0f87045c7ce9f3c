# SPDX-License-Identifier: Apache-2.0
"""What is offered over what can be done, by arrivals in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.batching.offered_load import OfferedLoad

RATE = 133.0


def offered(load: OfferedLoad, times_rate: float, seconds: float, start_s: float = 0.0) -> float:
    """Offer evenly spaced single rows; return when it ended."""
    count = round(times_rate * RATE * seconds)
    for index in range(count):
        load.note(1, RATE, start_s + index * seconds / count)
    return start_s + seconds


@pytest.mark.parametrize("times_rate", [0.5, 1.0, 2.0])
def test_it_is_the_offered_share_of_what_can_be_done(times_rate: float) -> None:
    load = OfferedLoad()
    end_s = offered(load, times_rate, 3.0, start_s=1e6)
    assert load.utilization(end_s) == pytest.approx(times_rate, abs=0.15 * times_rate)


def test_it_follows_a_change_within_a_second() -> None:
    load = OfferedLoad()
    end_s = offered(load, 0.5, 2.0)
    assert load.utilization(offered(load, 2.0, 1.0, end_s)) == pytest.approx(2.0, abs=0.3)


def test_after_a_second_without_calls_nothing_is_offered() -> None:
    load = OfferedLoad()
    end_s = offered(load, 1.0, 1.0)
    assert load.utilization(end_s + 1.1) == 0.0


def test_calls_refused_before_they_are_known_count_like_the_others() -> None:
    load = OfferedLoad()
    for index in range(100):
        load.note(1, 100.0, index / 100)
        load.note_refused(index / 100)
    assert load.utilization(0.999) == pytest.approx(2.0, abs=0.01)


def test_a_rate_that_is_not_known_yet_adds_nothing() -> None:
    load = OfferedLoad()
    load.note(8, 0.0, 0.0)
    assert load.utilization(0.0) == 0.0


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.0, 3.0)), max_size=60), st.floats(0.0, 20.0))
def test_asking_changes_nothing_and_the_answer_is_never_below_nothing(
    jobs: list[tuple[int, float]], asked_after_s: float
) -> None:
    load = OfferedLoad()
    now_s = 100.0
    for rows, pause_s in jobs:
        now_s += pause_s
        load.note(rows, RATE, now_s)
    later_s = now_s + asked_after_s
    first, between, again = load.utilization(later_s), load.utilization(now_s), load.utilization(later_s)
    assert first == again
    assert 0.0 <= first <= between + 1e-9
