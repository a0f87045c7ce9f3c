# SPDX-License-Identifier: Apache-2.0
"""A page is well-formed, holds everything itself, and shows what the reports say."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_load.reports.page import render_page
from matting_load.reports.report import Generator, Latency, Outcome, Report, Series, Summary
from matting_load.reports.svg import Axis, Line, Scale, bar_plot, line_plot, linear_ticks, log_ticks, number

_VOID = frozenset(("meta",))


class Balance(HTMLParser):
    """Checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Nothing stays open."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def summary(rate: float, good: float) -> Summary:
    latency = Latency(0.1, 0.1, 0.2, 0.3, 0.4, 0.5)
    outcomes = (Outcome("ok", 9, 0.9, 0.1, 0.3, 0.5), Outcome("OVERLOADED", 1, 0.1, 0.001, 0.002, 0.003))
    return Summary(f"{rate:g}/s", 10.0, round(rate * 10), rate, good, good, good / rate, latency, outcomes)


@pytest.fixture
def report() -> Report:
    return Report(
        label="run <1>",
        target="gateway here",
        load="open loop",
        started="now",
        plan={},
        environment={"cpu_count": "2"},
        total=summary(200, 133),
        classes=(summary(100, 60), summary(100, 73)),
        steps=(summary(100, 100), summary(200, 133)),
        series=Series(
            1.0, (0.0, 1.0, 2.0), (200.0,) * 3, (133.0,) * 3, (133.0,) * 3, (0.1, None, 0.1), (0.3, None, 0.3)
        ),
        latency_quantiles=(0.0, 0.5, 0.9, 1.0),
        latency_cdf_s=(0.05, 0.1, 0.2, 0.5),
        generator=Generator(1, 0.0001, 0.02, 0.05, 0.2, 0.0003),
        batch_sizes={"1": 5, "2": 9, "3-4": 20, ">16": 1},
    )


def balanced(page: str) -> bool:
    parser = Balance()
    parser.feed(page.removeprefix("<!doctype html>"))
    return parser.open == []


def test_one_report_is_shown_whole(report: Report) -> None:
    page = render_page([report])
    assert balanced(page)
    for title in (
        "Throughput and goodput against offered load",
        "Latency of answers, cumulative",
        "Latency of answers by percentile",
        "Rates over time",
        "Latency over time",
        "Batch sizes",
        "Outcomes",
    ):
        assert title in page
    assert "133.0" in page
    assert "sent late" in page


def test_a_page_fetches_nothing_and_runs_nothing(report: Report) -> None:
    page = render_page([report])
    assert not re.search(r"<script|<link|https?://|url\(|@import|<img", page)


def test_names_are_escaped(report: Report) -> None:
    page = render_page([dataclasses.replace(report, target="<b>&")])
    assert "run &lt;1&gt;" in page
    assert "&lt;b&gt;&amp;" in page


def test_several_reports_are_compared(report: Report) -> None:
    page = render_page([report, dataclasses.replace(report, label="other")], "Before and after")
    assert balanced(page)
    assert "<h1>Before and after</h1>" in page
    assert page.count("Steps of") == 2


def test_no_report_is_no_page() -> None:
    with pytest.raises(ValueError, match="at least one"):
        render_page([])


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=30), st.booleans())
def test_any_line_is_drawn_within_its_frame(points: list[tuple[float, float]], log: bool) -> None:
    plot = line_plot("t", [Line("l", [*points, None], dotted_points=True)], Axis("x", log=log), Axis("y"))
    svg = ET.fromstring(plot[plot.index("<svg") : plot.index("</figure>")])  # noqa: S314  # made two lines above
    for circle in svg.iter("circle"):
        assert 0 <= float(circle.get("cx", "")) <= 720
        assert 0 <= float(circle.get("cy", "")) <= 320


def test_nothing_to_draw_is_no_plot() -> None:
    assert line_plot("t", [Line("l", [None])], Axis("x"), Axis("y")) == ""
    assert bar_plot("t", [("a", [0.0])], ["n"], Axis("y"), "x") == ""


def test_labels_of_bars_that_would_run_into_each_other_stand_on_two_lines() -> None:
    def heights(labels: list[str]) -> list[str]:
        plot = bar_plot("t", [(label, [1.0]) for label in labels], ["n"], Axis("y"), "")
        return [re.findall(rf'y="([\d.]+)"[^>]*>{label}<', plot)[0] for label in labels]

    assert len(set(heights(["ok", "late", "OVERLOADED"]))) == 1
    crowded = heights(["ok", "DEADLINE_UNREACHABLE", "DEADLINE_EXPIRED", "OVERLOADED", "late", "UNAVAILABLE"])
    assert all(one != other for one, other in itertools.pairwise(crowded))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_lie_between_the_ends(low: float, span: float) -> None:
    ticks = linear_ticks(low, low + span)
    assert 1 <= len(ticks) <= 8
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


@given(st.floats(1e-6, 1e6), st.floats(1.2, 1e6))
def test_log_ticks_lie_between_the_ends(low: float, factor: float) -> None:
    assert all(low * 0.99 <= tick <= low * factor * 1.01 for tick in log_ticks(low, low * factor))


def test_scales_map_their_ends() -> None:
    scale = Scale(1, 100, 0, 200, log=True)
    assert [scale.at(value) for value in (0, 1, 10, 100, 1000)] == [0, 0, 100, 200, 200]


def test_numbers_have_as_many_digits_as_matter() -> None:
    assert [number(value) for value in (0, 0.01234, 5, 123.4, 12345)] == ["0", "0.0123", "5", "123", "12,345"]
