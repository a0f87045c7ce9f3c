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
    assert load.utilization(end_s) == pytest.approx(times_rate, rel=0.02)


def test_it_follows_a_change_within_a_second() -> None:
    load = OfferedLoad()
    end_s = offered(load, 0.5, 2.0)
    assert load.utilization(offered(load, 2.0, 1.0, end_s)) == pytest.approx(2.0, rel=0.03)


def test_after_a_second_without_calls_nothing_is_offered() -> None:
    load = OfferedLoad()
    end_s = offered(load, 1.0, 1.0)
    assert load.utilization(end_s + 1.1) == pytest.approx(0.0, abs=1e-9)


def test_calls_that_nobody_has_seen_into_count_like_the_others() -> None:
    load = OfferedLoad()
    for index in range(100):
        load.note(1, 100.0, index / 100)
        load.note_unseen(1, index / 100)
    assert load.utilization(0.999) == pytest.approx(2.0, abs=0.01)


def test_calls_that_had_to_wait_and_were_let_in_count_once() -> None:
    load = OfferedLoad()
    for index in range(200):
        load.note_unseen(1, index / 100)
        if index >= 30:  # let in 0.3 s later
            load.note_unseen(-1, index / 100)
            load.note(1, 100.0, index / 100)
    assert load.utilization(2.0) == pytest.approx(1.0, abs=0.02)


def test_where_all_wait_they_are_taken_to_ask_what_others_asked_before() -> None:
    load = OfferedLoad()
    offered(load, 1.0, 1.0)
    for index in range(200):
        load.note_unseen(1, 3.0 + index / 200)
    assert load.utilization(4.0) == pytest.approx(200 / RATE, rel=0.02)


def test_while_a_backlog_is_let_in_what_is_seen_counts() -> None:
    load = OfferedLoad()
    load.note_unseen(500, 0.0)
    for index in range(200):
        load.note_unseen(-1, 1.0 + index / 100)
        load.note(1, 100.0, 1.0 + index / 100)
    assert load.utilization(3.0) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("worker_rate", "tighter"), [(50.0, 2.0), (400.0, 1.0)])
def test_it_is_that_of_whatever_can_do_less_of_models_and_workers(worker_rate: float, tighter: float) -> None:
    load = OfferedLoad()
    for index in range(100):
        load.note_photo(1 / worker_rate, index / 100)
        load.note(1, 100.0, index / 100)
        load.note_unseen(index % 2, index / 100)  # one call in two
    assert load.utilization(0.999) == pytest.approx(1.5 * tighter, abs=0.02)


def test_a_rate_that_is_not_known_yet_adds_nothing() -> None:
    load = OfferedLoad()
    load.note(8, 0.0, 0.0)
    assert load.utilization(0.0) == 0.0


@pytest.mark.slow
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
