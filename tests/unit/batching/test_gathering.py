# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.batching.queue.batch_holdoff import BatchHoldoff

GAP_S, MOST_S = 0.002, 0.01


def holdoff() -> BatchHoldoff:
    return BatchHoldoff(gap_s=GAP_S, most_s=MOST_S)


def test_nothing_is_held_while_nobody_is_on_the_way() -> None:
    gathers = holdoff()
    gathers.arrived(1.0)
    assert gathers.hold_s(0, 1.0) == 0.0
    with gathers:
        pass
    assert gathers.hold_s(0, 1.0) == 0.0


def test_what_waits_is_held_for_a_gap_after_the_last_job_that_came() -> None:
    gathers = holdoff()
    with gathers:
        gathers.arrived(1.0)
        assert gathers.hold_s(0, 1.0) == pytest.approx(GAP_S)
        gathers.arrived(1.001)
        assert gathers.hold_s(0, 1.001) == pytest.approx(GAP_S)
        assert gathers.hold_s(0, 1.004) == 0.0


def test_a_caller_who_sends_nothing_holds_nobody_up() -> None:
    gathers = holdoff()
    with gathers:
        assert gathers.hold_s(0, 1.0) == 0.0


@given(st.lists(st.floats(0.0, 0.0019), min_size=1, max_size=50))
def test_jobs_that_keep_coming_are_held_for_the_most_time_at_the_most(steps: list[float]) -> None:
    gathers = holdoff()
    now_s = since_s = 1.0
    with gathers:
        for step in steps:
            gathers.arrived(now_s)
            assert now_s + gathers.hold_s(0, now_s) <= max(since_s + MOST_S, now_s) + 1e-9
            now_s += step
    gathers.sent()
    with gathers:
        gathers.arrived(now_s)
        assert gathers.hold_s(0, now_s) > 0.0


def test_jobs_go_once_as_many_wait_as_are_still_coming() -> None:
    gathers = holdoff()
    with gathers, gathers:
        gathers.arrived(1.0)
        assert gathers.hold_s(1, 1.0) > 0.0
        assert gathers.hold_s(2, 1.0) == 0.0
