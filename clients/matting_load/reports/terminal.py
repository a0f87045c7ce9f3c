# SPDX-License-Identifier: Apache-2.0
"""A finished report on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from matting_load.reports.naming import what_was_sent
from matting_load.reports.report import Report, Summary

# Lines that go to a file or a pipe are not cut to a terminal's width.
_FILE_WIDTH = 160


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the figures of a report."""
    if console is None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = _FILE_WIDTH
    console.print(f"[bold]{escape(report.label)}[/]: {report.load}, started {report.started}")
    if sent := what_was_sent(report):
        console.print(escape(sent), style="dim")
    console.print(summary_table((report.total, *report.classes, *report.steps)))
    console.print("answered: a result came. in time: by its deadline, or at all where there is none.", style="dim")
    console.print(_outcome_table(report.total))
    for outcome in report.total.outcomes:
        for message in outcome.messages:
            console.print(f"{outcome.name}: {escape(message)}", style="dim")
    if report.batch_sizes:
        sizes = ", ".join(f"{size}: {count}" for size, count in report.batch_sizes.items())
        console.print(f"batches by size: {sizes}")
    generator = report.generator
    console.print(
        f"generator: sent late by p50 {generator.lag_p50_s * 1e3:.2f} / p99 {generator.lag_p99_s * 1e3:.2f} / "
        f"max {generator.lag_max_s * 1e3:.1f} ms, {generator.cpu_share:.0%} of a core a process, "
        f"{generator.cpu_per_call_s * 1e6:.0f} µs a call",
        style="dim",
    )
    if generator.suspect:
        console.print(f"[bold yellow]these figures may be the generator's own:[/] {generator.suspect}")
    for verdict in report.verdicts:
        color = "green" if verdict.held else "red"
        console.print(f"[bold {color}]{verdict.word}[/]: {escape(verdict.asked)}; {verdict.found}")


def summary_table(summaries: Sequence[Summary]) -> Table:
    """Lay out one row a stretch or class."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in (
        "calls",
        "offered/s",
        "answered/s",
        "in time/s",
        "in time",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
    ):
        table.add_column(name, justify="right")
    for summary in summaries:
        latency = summary.latency
        times = [latency.p50_s, latency.p90_s, latency.p99_s, latency.p999_s, latency.max_s] if latency else [None] * 5
        table.add_row(
            summary.name,
            f"{summary.offered_count:,}",
            f"{summary.offered_per_s:,.1f}",
            f"{summary.throughput_per_s:,.1f}",
            f"{summary.goodput_per_s:,.1f}",
            f"{summary.good_share:.1%}",
            *("-" if each is None else f"{each * 1e3:,.1f}" for each in times),
        )
    return table


def _outcome_table(total: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("outcome")
    for name in ("calls", "share", "known after p50 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    for outcome in total.outcomes:
        times = (outcome.p50_s, outcome.p99_s, outcome.max_s)
        table.add_row(
            outcome.name, f"{outcome.count:,}", f"{outcome.share:.1%}", *(f"{each * 1e3:,.1f}" for each in times)
        )
    return table
