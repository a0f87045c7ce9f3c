# SPDX-License-Identifier: Apache-2.0
"""A search finds the highest rate that meets the SLO, in few trials."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_load.plan import ClosedLoop, DeadlineClass, GatewayTarget, OpenLoop, Plan
from matting_load.reports.analysis import analyse
from matting_load.reports.report import Report
from matting_load.search import Search, Slo, search
from matting_load.sending.records import Recorder

PLAN = Plan(GatewayTarget(), ClosedLoop(1), deadlines=(DeadlineClass(0.3),))


def server(capacity_per_s: float) -> Callable[[Plan], Report]:
    """A server that answers in 50 ms up to its capacity, and everything late beyond it."""

    def run(plan: Plan) -> Report:
        assert isinstance(plan.load, OpenLoop)
        recorder = Recorder()
        late = plan.load.segments[0].start_rate > capacity_per_s
        recorder.add(
            plan.warmup_s,
            plan.warmup_s,
            plan.warmup_s + (0.9 if late else 0.05),
            outcome="late" if late else "ok",
            deadline_class=0,
            payload=0,
        )
        seen = recorder.records(0.0, 1.0)
        return analyse(plan, seen, started="", environment={}, described={}, batch_sizes={})

    return run


@pytest.mark.slow
@given(st.floats(1, 9_000))
def test_the_capacity_is_found(capacity_per_s: float) -> None:
    found = search(PLAN, Slo(), Search(tolerance=0.05), server(capacity_per_s))
    assert found.rate_per_s <= capacity_per_s <= found.rate_per_s * 1.06
    assert len(found.trials) <= 20


def test_a_server_too_slow_for_the_lowest_rate_is_said_so() -> None:
    found = search(PLAN, Slo(), Search(low_per_s=10), server(5))
    assert found.rate_per_s == 0
    assert found.as_report("none").steps[0].name == "10/s (missed)"


def test_a_server_faster_than_the_highest_rate_is_said_so() -> None:
    found = search(PLAN, Slo(), Search(high_per_s=100), server(1e9))
    assert (found.rate_per_s, found.capped) == (100, True)


def test_a_search_is_one_report_with_a_step_a_trial() -> None:
    found = search(PLAN, Slo(), Search(), server(100))
    report = found.as_report("mine")
    assert report.label == "mine"
    assert [step.offered_per_s for step in report.steps] == sorted(step.offered_per_s for step in report.steps)
    assert len(report.steps) == len(found.trials)
    assert report.total.good_share == 1.0


def test_ctrl_c_ends_a_search_with_what_was_found_until_then() -> None:
    answers = server(1e9)

    def run(plan: Plan) -> Report:
        assert isinstance(plan.load, OpenLoop)
        if plan.load.segments[0].start_rate >= 8:
            raise KeyboardInterrupt
        return answers(plan)

    found = search(PLAN, Slo(), Search(low_per_s=2), run)
    assert (found.rate_per_s, found.stopped) == (4, True)
    assert found.verdict.found == "interrupted; highest rate tried: 4/s, and perhaps more"
    with pytest.raises(KeyboardInterrupt):
        search(PLAN, Slo(), Search(low_per_s=8), run)


def test_an_slo_may_bound_the_tail() -> None:
    total = server(1)(dataclasses.replace(PLAN, load=Search().load(1))).total
    assert Slo(0.99).met_by(total)
    assert Slo(0.99, p99_s=0.1).met_by(total)
    assert not Slo(0.99, p99_s=0.01).met_by(total)
    assert "p99 at most 10 ms" in str(Slo(0.99, p99_s=0.01))


@pytest.mark.parametrize("make", [lambda: Slo(0), lambda: Slo(1.1), lambda: Search(2, 1), lambda: Search(tolerance=0)])
def test_what_cannot_be_searched_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()  # type: ignore[operator]  # one of the lambdas above
