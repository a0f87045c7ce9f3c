# SPDX-License-Identifier: Apache-2.0
"""When calls are due: as many as the rate says, when it says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_load.arrivals import Process, Segment, arrival_times, before, bursts, ramp, read_trace, steady, steps

rates = st.floats(0, 200)
segments = st.lists(st.builds(Segment, rates, rates, st.floats(0.01, 5)), min_size=1, max_size=6)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.slow
@given(segments, st.sampled_from(["constant", "poisson"]), st.integers(0, 99))
def test_times_ascend_within_the_plan(plan: list[Segment], process: Process, seed: int) -> None:
    times = arrival_times(plan, process, rng(seed))
    assert (np.diff(times) >= -1e-9).all()
    assert times.size == 0 or (times[0] >= 0 and times[-1] <= sum(each.duration_s for each in plan) + 1e-6)


@pytest.mark.slow
@given(segments)
def test_constant_arrivals_are_as_many_as_the_rate_says(plan: list[Segment]) -> None:
    expected = sum(each.expected_count for each in plan)
    assert len(arrival_times(plan, "constant", rng())) == pytest.approx(expected, abs=1)


def test_constant_arrivals_are_evenly_spaced() -> None:
    times = arrival_times(steady(100, 10), "constant", rng())
    assert len(times) == 1000
    assert np.allclose(np.diff(times), 0.01)


def test_poisson_gaps_are_exponential() -> None:
    times = arrival_times(steady(1000, 60), "poisson", rng())
    gaps = np.diff(times)
    assert len(times) == pytest.approx(60_000, rel=0.02)
    # An exponential's mean equals its deviation, and its median is ln 2 of the mean.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert np.median(gaps) == pytest.approx(np.log(2) * gaps.mean(), rel=0.02)


def test_steps_have_each_their_rate() -> None:
    times = arrival_times(steps([10, 50, 20], 4.0), "constant", rng())
    assert np.histogram(times, [0, 4, 8, 12])[0].tolist() == [40, 200, 80]


def test_a_ramp_grows_linearly() -> None:
    times = arrival_times(ramp(0, 100, 10), "constant", rng())
    assert np.histogram(times, [0, 5, 10])[0].tolist() == pytest.approx([125, 375], abs=2)


def test_bursts_are_silent_in_between() -> None:
    times = arrival_times(bursts(200, 1, 3, 10), "poisson", rng())
    assert ((times % 4) <= 1).all()
    assert len(times) == pytest.approx(600, rel=0.15)


def test_a_seed_repeats_itself_and_another_does_not() -> None:
    plan = steady(50, 5)
    assert np.array_equal(arrival_times(plan, "poisson", rng(1)), arrival_times(plan, "poisson", rng(1)))
    assert not np.array_equal(arrival_times(plan, "poisson", rng(1)), arrival_times(plan, "poisson", rng(2)))


def test_no_rate_is_no_calls() -> None:
    assert arrival_times(steady(0, 5), "poisson", rng()).size == 0


def test_a_trace_is_read_shifted_and_sped_up(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("# seconds\n12.0, POST\n10\n\n11.0\n")
    assert read_trace(path).tolist() == [0, 1, 2]
    assert read_trace(path, speed=2).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(("text", "told"), [("", "no times"), ("ten\n", "is no trace")])
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        read_trace(path)


@pytest.mark.parametrize("make", [lambda: Segment(1, 1, 0), lambda: Segment(-1, 1, 1), lambda: bursts(1, 0, 1, 5)])
def test_impossible_plans_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"must be|negative"):
        make()  # type: ignore[operator]  # one of the lambdas above


def test_what_comes_before_an_instant_is_kept() -> None:
    assert before(steps([10, 20, 30], 4.0), 6.0) == (Segment(10, 10, 4.0), Segment(20, 20, 2.0))
    assert before(ramp(10, 30, 4.0), 2.0) == (Segment(10, 20, 2.0),)
    assert before(steady(10, 4.0), 9.0) == steady(10, 4.0)
