# SPDX-License-Identifier: Apache-2.0
"""The figures of a report by name: the columns of its CSV, and what thresholds are set on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from matting_load.outcomes import LATE, OK
from matting_load.reports.report import Generator, Outcome, Report, Summary

# None: there was nothing to take the figure of.
Figures: TypeAlias = Mapping[str, float | None]

OF_EACH_ROW = (
    "calls",
    "offered_per_s",
    "answered_per_s",
    "goodput_per_s",
    "in_time_share",
    "failed_share",
    "mean_ms",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
)
OF_THE_TEST = (
    "batch_size_mean",
    "sent_late_p50_ms",
    "sent_late_p99_ms",
    "sent_late_max_ms",
    "generator_cpu_share",
    "generator_cpu_us_per_call",
)
OF_AN_OUTCOME = ("count", "share", "p50_ms", "p99_ms", "max_ms")


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of the whole test (`total`), of one deadline class, or of one step."""

    kind: str
    name: str
    figures: Figures


def rows(report: Report) -> Sequence[Row]:
    """Return a row for the whole test, for each deadline class where there are several, and for each step."""
    test = {"batch_size_mean": report.batch_size_mean, **_generator_figures(report.generator)}
    return (
        Row("total", report.total.name, {**_summary_figures(report.total), **test, **_outcome_figures(report.total)}),
        *(Row("deadline", each.name, _with_outcomes(each)) for each in report.classes),
        *(Row("step", each.name, _with_outcomes(each)) for each in report.steps),
    )


def _with_outcomes(summary: Summary) -> Figures:
    return {**_summary_figures(summary), **_outcome_figures(summary)}


def _summary_figures(summary: Summary) -> Figures:
    latency = summary.latency
    times = (
        (latency.mean_s, latency.p50_s, latency.p90_s, latency.p99_s, latency.p999_s, latency.max_s)
        if latency
        else (None,) * 6
    )
    values: tuple[float | None, ...] = (
        summary.offered_count,
        summary.offered_per_s,
        summary.throughput_per_s,
        summary.goodput_per_s,
        summary.good_share,
        sum(each.share for each in summary.outcomes if each.name not in (OK, LATE)),
        *map(_ms, times),
    )
    return dict(zip(OF_EACH_ROW, values, strict=True))


def _generator_figures(generator: Generator) -> Figures:
    return {
        "sent_late_p50_ms": generator.lag_p50_s * 1e3,
        "sent_late_p99_ms": generator.lag_p99_s * 1e3,
        "sent_late_max_ms": generator.lag_max_s * 1e3,
        "generator_cpu_share": generator.cpu_share,
        "generator_cpu_us_per_call": generator.cpu_per_call_s * 1e6,
    }


def _outcome_figures(summary: Summary) -> Figures:
    return {f"{each.name}_{name}": value for each in summary.outcomes for name, value in _of(each).items()}


def _of(outcome: Outcome) -> Figures:
    values = (outcome.count, outcome.share, *map(_ms, (outcome.p50_s, outcome.p99_s, outcome.max_s)))
    return dict(zip(OF_AN_OUTCOME, values, strict=True))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
