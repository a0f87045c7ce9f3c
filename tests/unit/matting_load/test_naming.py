# SPDX-License-Identifier: Apache-2.0
"""Runs are called by what differs between them, and a report says what was run."""

import dataclasses

import pytest
from matting_load.arrivals import steady
from matting_load.plan import ClosedLoop, DeadlineClass, GatewayTarget, OpenLoop, Photos, PhotoSize, Plan, TensorTarget
from matting_load.reports.analysis import analyse
from matting_load.reports.describe import described_plan
from matting_load.reports.naming import in_common, named, title_of, what_was_sent
from matting_load.reports.page import render_page
from matting_load.reports.report import Report
from matting_load.sending.records import Recorder

PLAN = Plan(GatewayTarget(), ClosedLoop(8, 20.0))


def report(plan: Plan, **environment: str) -> Report:
    seen = Recorder().records(0.0, 1.0)
    described = described_plan(plan)
    return analyse(plan, seen, started="now", environment=environment, described=described, batch_sizes={})


def names(*plans: Plan) -> list[str]:
    return [each.label for each in named([report(plan) for plan in plans], ["before", "after", "third"][: len(plans)])]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Plan(GatewayTarget(), ClosedLoop(16, 20.0)), ["8 callers", "16 callers"]),
        (Plan(GatewayTarget(model="u2net-int8"), PLAN.load), ["default model", "u2net-int8"]),
        (Plan(GatewayTarget("a:1,b:1"), PLAN.load), ["127.0.0.1:50051", "a:1,b:1"]),
        (Plan(GatewayTarget(output="cutout"), PLAN.load), ["alpha", "cutout"]),
        (dataclasses.replace(PLAN, deadlines=(DeadlineClass(0.3),)), ["no deadline", "deadline 300 ms"]),
        (
            dataclasses.replace(PLAN, photos=Photos((PhotoSize(640, 480),))),
            ["photos of 1600x1600", "photos of 640x480"],
        ),
        (dataclasses.replace(PLAN, processes=2), ["1 sending process", "2 sending processes"]),
        (dataclasses.replace(PLAN, label="mine"), ["before", "mine"]),
        (PLAN, ["before", "after"]),
        (
            Plan(GatewayTarget(), OpenLoop(steady(50, 20.0))),
            ["closed loop, 8 callers, 20 s", "open loop, poisson, 50/s, 20 s"],
        ),
    ],
)
def test_runs_are_called_by_what_differs(other: Plan, expected: list[str]) -> None:
    assert names(PLAN, other) == expected


def test_where_too_much_differs_the_files_name_them() -> None:
    other = Plan(GatewayTarget("elsewhere:1", output="cutout"), OpenLoop(steady(50, 9.0)), (DeadlineClass(0.3),))
    assert names(PLAN, other) == ["before", "after"]


def test_labels_stay_unless_they_are_the_same() -> None:
    mine = dataclasses.replace(PLAN, label="mine")
    assert names(mine, dataclasses.replace(PLAN, label="yours")) == ["mine", "yours"]
    assert names(mine, mine) == ["mine, before", "mine, after"]


def test_runs_of_two_machines_are_called_by_them() -> None:
    both = [report(PLAN, host="a", cpu_count="2"), report(PLAN, host="b", cpu_count="2")]
    assert [each.label for each in named(both)] == ["a", "b"]


def test_what_was_the_same_is_said_once() -> None:
    both = [report(PLAN), report(Plan(GatewayTarget(), ClosedLoop(16, 20.0)))]
    assert in_common(both) == (
        "127.0.0.1:50051, default model, closed loop, 20 s, photos of 1600x1600, alpha, as png, no deadline"
    )
    page = render_page(both)
    assert "<title>2 runs compared: 8 callers, 16 callers</title>" in page
    assert "closed loop, 20 s" in page


def test_the_title_says_what_was_run() -> None:
    one = report(Plan(GatewayTarget(model="u2net"), PLAN.load))
    assert title_of(one) == "gateway 127.0.0.1:50051, u2net: closed loop, 8 callers, 20 s"
    assert f"<title>{title_of(one)}</title>" in render_page([one])
    assert title_of(report(dataclasses.replace(PLAN, label="mine"))) == "mine: closed loop, 8 callers, 20 s"
    assert what_was_sent(report(Plan(TensorTarget(), PLAN.load))) == "tensors of 1x320x320x3, UINT8, no deadline"


def test_one_report_keeps_its_name() -> None:
    assert [each.label for each in named([report(PLAN)])] == ["gateway 127.0.0.1:50051"]
