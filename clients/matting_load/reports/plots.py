# SPDX-License-Identifier: Apache-2.0
"""Which plots a page has, from one report or several."""

from collections.abc import Sequence

from matting_load.reports.report import Report, Summary
from matting_load.reports.svg import Axis, Line, bar_plot, line_plot

# Run colours are by position; within one report these stand for what is drawn.
_OFFERED, _ANSWERED, _GOOD, _TAIL = "c7", "c0", "c2", "c1"


def plots_against_load(reports: Sequence[Report]) -> list[str]:
    """Draw what rates do; an entry is empty where the reports have no data for it."""
    return [load_curve(reports), latency_curve(reports)]


def plots_of_calls(reports: Sequence[Report]) -> list[str]:
    """Draw what calls met with; an entry is empty where the reports have no data for it."""
    return [
        latency_cdf(reports),
        latency_by_percentile(reports),
        rates_over_time(reports),
        latency_over_time(reports),
        batch_sizes(reports),
        outcomes(reports),
    ]


def load_curve(reports: Sequence[Report]) -> str:
    """Throughput and goodput against offered load; needs two loads at least, of steps or of runs."""
    lines: list[Line] = []
    if any(report.steps for report in reports):
        for index, report in enumerate(reports):
            lines += _curve_lines(report.steps, report.label if len(reports) > 1 else "", index, len(reports) == 1)
    elif len({round(report.total.offered_per_s) for report in reports}) > 1:
        lines = _curve_lines([report.total for report in reports], "", 0, True)
    points = [point for line in lines for point in line.points if point is not None]
    if len(points) < 2:
        return ""
    longest = max(point[0] for point in points)
    ideal = Line("all in time", [(0.0, 0.0), (longest, longest)], "c7", dashed=True)
    return line_plot(
        "Throughput and goodput against offered load", [*lines, ideal], Axis("offered, calls/s"), Axis("answers/s")
    )


def latency_curve(reports: Sequence[Report]) -> str:
    """Median and 99th percentile against offered load, of steps."""
    lines: list[Line] = []
    for index, report in enumerate(reports):
        steps = sorted(report.steps, key=lambda step: step.offered_per_s)
        prefix = f"{report.label} " if len(reports) > 1 else ""
        colors = (f"c{index % 8}",) * 2 if len(reports) > 1 else (_ANSWERED, _TAIL)
        p50 = [(step.offered_per_s, step.latency.p50_s * 1e3) for step in steps if step.latency]
        p99 = [(step.offered_per_s, step.latency.p99_s * 1e3) for step in steps if step.latency]
        if len(p50) > 1:
            lines.append(Line(f"{prefix}p50", p50, colors[0], dashed=len(reports) > 1, dotted_points=True))
            lines.append(Line(f"{prefix}p99", p99, colors[1], dotted_points=True))
    return line_plot("Latency against offered load", lines, Axis("offered, calls/s"), Axis("ms"))


def latency_cdf(reports: Sequence[Report]) -> str:
    """How many of the answers came within a time."""
    lines = [
        Line(
            report.label,
            [
                (max(seconds, 1e-6) * 1e3, quantile * 100)
                for quantile, seconds in zip(report.latency_quantiles, report.latency_cdf_s, strict=False)
            ],
            f"c{index % 8}",
        )
        for index, report in enumerate(reports)
        if report.latency_cdf_s
    ]
    return line_plot(
        "Latency of answers, cumulative", lines, Axis("latency, ms", log=True), Axis("% of answers", end=100.0)
    )


def latency_by_percentile(reports: Sequence[Report]) -> str:
    """The tail: each step along the axis leaves out ten times fewer calls."""
    lines = [
        Line(
            report.label,
            [
                (1 / (1 - quantile), seconds * 1e3)
                for quantile, seconds in zip(report.latency_quantiles, report.latency_cdf_s, strict=False)
                if quantile < 1 and (1 - quantile) * report.total.offered_count >= 1
            ],
            f"c{index % 8}",
        )
        for index, report in enumerate(reports)
        if report.latency_cdf_s
    ]
    percent = Axis("percentile", log=True, write=lambda value: f"{100 * (1 - 1 / value):.6g}")
    return line_plot("Latency of answers by percentile", lines, percent, Axis("ms"))


def rates_over_time(reports: Sequence[Report]) -> str:
    """Offered, answered and good per second; of several runs the good ones alone."""
    if len(reports) > 1:
        lines = [
            Line(report.label, _over_time(report, report.series.goodput_per_s), f"c{index % 8}")
            for index, report in enumerate(reports)
        ]
        return line_plot("Goodput over time", lines, Axis("seconds"), Axis("answers in time/s"))
    report = reports[0]
    lines = [
        Line("offered", _over_time(report, report.series.offered_per_s), _OFFERED, dashed=True),
        Line("answered", _over_time(report, report.series.throughput_per_s), _ANSWERED, wide=True),
        Line("in time", _over_time(report, report.series.goodput_per_s), _GOOD),
    ]
    return line_plot("Rates over time", lines, Axis("seconds"), Axis("calls/s"))


def latency_over_time(reports: Sequence[Report]) -> str:
    """Median and 99th percentile of the answers of each stretch."""
    lines: list[Line] = []
    for index, report in enumerate(reports):
        prefix = f"{report.label} " if len(reports) > 1 else ""
        colors = (f"c{index % 8}",) * 2 if len(reports) > 1 else (_ANSWERED, _TAIL)
        lines.append(Line(f"{prefix}p50", _in_ms(report, report.series.p50_s), colors[0], dashed=len(reports) > 1))
        lines.append(Line(f"{prefix}p99", _in_ms(report, report.series.p99_s), colors[1]))
    return line_plot("Latency over time", lines, Axis("seconds"), Axis("ms"))


def batch_sizes(reports: Sequence[Report]) -> str:
    """How many photos went to the model together."""
    measured = [report for report in reports if report.batch_sizes]
    sizes = list(dict.fromkeys(size for report in measured for size in report.batch_sizes))
    sizes.sort(key=lambda size: float(size.lstrip(">").split("-")[0]) + (0.5 if size.startswith(">") else 0))
    groups = [
        (size, [100.0 * report.batch_sizes.get(size, 0) / sum(report.batch_sizes.values()) for report in measured])
        for size in sizes
    ]
    return bar_plot(
        "Batch sizes", groups, [report.label for report in measured], Axis("% of batches"), "photos a batch"
    )


def outcomes(reports: Sequence[Report]) -> str:
    """What became of calls, where not all of them went well."""
    names = list(dict.fromkeys(outcome.name for report in reports for outcome in report.total.outcomes))
    if names == ["ok"]:
        return ""
    groups = [
        (
            name,
            [
                next((100 * each.share for each in report.total.outcomes if each.name == name), 0.0)
                for report in reports
            ],
        )
        for name in names
    ]
    return bar_plot("Outcomes", groups, [report.label for report in reports], Axis("% of calls"), "")


def _curve_lines(steps: Sequence[Summary], label: str, index: int, alone: bool) -> list[Line]:
    ordered = sorted(steps, key=lambda step: step.offered_per_s)
    prefix = f"{label} " if label else ""
    answered = Line(
        f"{prefix}answered",
        [(step.offered_per_s, step.throughput_per_s) for step in ordered],
        _ANSWERED if alone else f"c{index % 8}",
        wide=True,
    )
    good = Line(
        f"{prefix}in time",
        [(step.offered_per_s, step.goodput_per_s) for step in ordered],
        _GOOD if alone else f"c{index % 8}",
        dotted_points=True,
    )
    return [answered, good]


def _over_time(report: Report, values: Sequence[float]) -> list[tuple[float, float] | None]:
    middle_s = report.series.bucket_s / 2
    return [(start + middle_s, value) for start, value in zip(report.series.start_s, values, strict=True)]


def _in_ms(report: Report, values: Sequence[float | None]) -> list[tuple[float, float] | None]:
    middle_s = report.series.bucket_s / 2
    return [
        None if value is None else (start + middle_s, value * 1e3)
        for start, value in zip(report.series.start_s, values, strict=True)
    ]
