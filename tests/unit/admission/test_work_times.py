# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.admission.work_times import WorkTimes

PHOTO_BYTES = 100 << 20


def test_nothing_is_expected_while_nothing_is_known() -> None:
    times = WorkTimes()
    times.given_up(PHOTO_BYTES, 5.0)
    assert times.expected_s(PHOTO_BYTES) == 0.0


def test_calls_that_always_take_as_long_are_expected_to() -> None:
    times = WorkTimes()
    for _ in range(60):
        times.answered(PHOTO_BYTES, 2.0)
    assert times.expected_s(PHOTO_BYTES) == pytest.approx(2.0, rel=0.01)


def test_calls_that_vary_are_given_more_time_than_most_take() -> None:
    times = WorkTimes()
    for held_s in 50 * [1.0, 1.5, 2.0, 2.5, 3.0]:
        times.answered(PHOTO_BYTES, held_s)
    assert times.expected_s(PHOTO_BYTES) > 2.5


def test_a_call_given_up_late_tells_that_calls_take_longer_and_one_given_up_early_tells_nothing() -> None:
    times = WorkTimes()
    times.answered(PHOTO_BYTES, 1.0)
    before_s = times.expected_s(PHOTO_BYTES)
    times.given_up(PHOTO_BYTES, 0.1)
    assert times.expected_s(PHOTO_BYTES) == before_s
    times.given_up(PHOTO_BYTES, 5.0)
    assert times.expected_s(PHOTO_BYTES) > before_s


def test_small_calls_say_nothing_of_large_ones() -> None:
    times = WorkTimes()
    times.answered(1 << 20, 0.01)
    assert times.expected_s(PHOTO_BYTES) == 0.0


@pytest.mark.slow
@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=50))
def test_what_is_expected_is_never_absurd(held: list[float]) -> None:
    times = WorkTimes()
    for held_s in held:
        times.answered(PHOTO_BYTES, held_s)
    assert 0.0 <= times.expected_s(PHOTO_BYTES) <= 3 * max(held) + 1e-9
