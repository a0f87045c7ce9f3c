# SPDX-License-Identifier: Apache-2.0
"""Every figure of a report has a name, is a column of its CSV, and can be a threshold."""

import csv
import io
from collections.abc import Sequence

import pytest
from matting_load.arrivals import steps
from matting_load.plan import DeadlineClass, GatewayTarget, OpenLoop, Plan
from matting_load.reports.analysis import analyse, row_names
from matting_load.reports.figures import OF_EACH_ROW, OF_THE_TEST, rows
from matting_load.reports.report import Report
from matting_load.reports.table import render_csv
from matting_load.reports.thresholds import figures_there, read_threshold
from matting_load.sending.records import Recorder

PLAN = Plan(
    GatewayTarget(),
    OpenLoop(steps([10, 20], 5.0)),
    deadlines=(DeadlineClass(0.15), DeadlineClass(None)),
)


def report(rows_seen: Sequence[tuple[float, float, str, int]]) -> Report:
    """Rows of (due, latency, outcome, deadline class)."""
    recorder = Recorder()
    for due_s, latency_s, outcome, deadline_class in rows_seen:
        recorder.add(due_s, due_s, due_s + latency_s, outcome=outcome, deadline_class=deadline_class, payload=0)
    seen = recorder.records(cpu_s=1.0, wall_s=10.0)
    return analyse(PLAN, seen, started="now", environment={}, described={}, batch_sizes={}, batch_size_mean=2.5)


SEEN = report(
    [(1.0, 0.1, "ok", 0)] * 8 + [(1.0, 0.2, "late", 0)] + [(6.0, 0.3, "ok", 1)] * 10 + [(6.0, 0.01, "OVERLOADED", 1)]
)


def held(text: str) -> bool:
    return read_threshold(text, row_names(PLAN)).judge(SEEN).held


@pytest.mark.parametrize(
    "text",
    [
        "calls<20",
        "offered_per_s!=2",
        "answered_per_s<1.9",
        "goodput_per_s < 1.8",
        "in_time_share<0.9",
        "failed_share>0.05",
        "p50_ms>300.1",
        "p99_ms>=301",
        "max_ms>3.1e2",
        "batch_size_mean<2.5",
        "generator_cpu_share>0.1",
        "OVERLOADED_share>0.05",
        "OVERLOADED_max_ms>11",
        "late_count>1",
        "UNAVAILABLE_count>0",
        "HTTP_503_share>0",
        "ClientOSError_count>0",
        "p99_ms@150ms>200.1",
        "in_time_share@nodeadline<0.9",
        "in_time_share@ no deadline <0.9",
        "max_ms@10/s>201",
        "calls@20/s!=11",
    ],
)
def test_what_is_so_holds(text: str) -> None:
    assert held(text)


@pytest.mark.parametrize(
    "text",
    ["calls<21", "p50_ms>299", "late_count==1", "p99_ms@150ms>150", "in_time_share@20/s<0.95", "batch_size_mean<=2.5"],
)
def test_what_is_not_so_fails_and_tells_the_figure(text: str) -> None:
    verdict = read_threshold(text, row_names(PLAN)).judge(SEEN)
    assert not verdict.held
    assert verdict.asked.replace(" ", "") == f"failif{text}"
    assert verdict.found.startswith("it is ")


def test_a_figure_that_there_is_nothing_to_take_of_fails() -> None:
    nobody = report([(1.0, 0.1, "UNAVAILABLE", 0)])
    verdict = read_threshold("p99_ms>250", ()).judge(nobody)
    assert (verdict.held, verdict.found) == (False, "there is none")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not of the form"),
        ("p99_ms", "not of the form"),
        ("p99_ms>", "not of the form"),
        ("p99_ms=>5", "not of the form"),
        ("p99_ms>250ms", "'250ms' is no number"),
        ("in_time_share<99%", "a share is one from 0 to 1"),
        ("p99>250", "did you mean p99_ms?"),
        ("OVERLOAD_share>0", "did you mean OVERLOADED_share?"),
        ("goodput>1", "goodput_per_s"),
        ("nonsense>1", "There are calls, offered_per_s"),
        ("p99_ms@300ms>1", "there are 150ms, nodeadline, 10/s, 20/s"),
        ("generator_cpu_share@150ms>1", "of the whole test"),
        ("p99_ms>1; import os", "not of the form"),
        ("__class__>1", "no figure"),
    ],
)
def test_what_is_no_condition_is_told_with_what_there_is(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as refused:
        read_threshold(text, row_names(PLAN))
    assert told in str(refused.value)


def test_a_test_without_steps_says_so() -> None:
    with pytest.raises(ValueError, match="neither several deadlines nor steps"):
        read_threshold("p99_ms@10/s>1", ())


def test_every_figure_is_named_and_can_be_asked_for() -> None:
    names = {name for row in rows(SEEN) for name in row.figures}
    assert {*OF_EACH_ROW, *OF_THE_TEST} <= names
    for name in names:
        read_threshold(f"{name}>0", ())
    assert all(name in figures_there() for name in (*OF_EACH_ROW, *OF_THE_TEST))


def test_the_csv_has_a_row_for_each_deadline_and_step_and_a_column_a_figure() -> None:
    read = list(csv.DictReader(io.StringIO(render_csv([SEEN.called("a, b"), SEEN]))))
    assert [(each["run"], each["row"], each["name"]) for each in read[:5]] == [
        ("a, b", "total", "total"),
        ("a, b", "deadline", "150 ms"),
        ("a, b", "deadline", "no deadline"),
        ("a, b", "step", "10/s"),
        ("a, b", "step", "20/s"),
    ]
    assert len(read) == 10
    assert (read[0]["calls"], read[0]["in_time_share"], read[0]["OVERLOADED_count"]) == ("20", "0.9", "1")
    assert (read[1]["p50_ms"], read[1]["OVERLOADED_count"], read[1]["generator_cpu_share"]) == ("100", "", "")
