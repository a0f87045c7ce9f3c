# SPDX-License-Identifier: Apache-2.0
"""Reports as one self-contained HTML page: no script, nothing fetched, light and dark."""

import string
from collections.abc import Sequence
from html import escape
from importlib import resources

from matting_load.plots import all_plots
from matting_load.report import Latency, Report, Summary


def render_page(reports: Sequence[Report], title: str = "") -> str:
    """Write one page over one report, or several compared.

    Raises:
        ValueError: There is no report.
    """
    if not reports:
        raise ValueError("a page needs at least one report")
    title = title or (reports[0].label if len(reports) == 1 else f"{len(reports)} runs compared")
    template = string.Template(resources.files("matting_load").joinpath("page.html").read_text(encoding="utf-8"))
    body = [
        f"<h1>{escape(title)}</h1>",
        _subtitle(reports),
        *(_warning(report) for report in reports),
        _cards(reports[0]) if len(reports) == 1 else "",
        _summary_table(reports),
        *_step_tables(reports),
        '<div class="plots">' + "".join(all_plots(reports)) + "</div>",
        _outcome_table(reports),
        _details(reports),
    ]
    return template.substitute(title=escape(title), body="\n".join(filter(None, body)))


def _subtitle(reports: Sequence[Report]) -> str:
    if len(reports) > 1:
        return '<p class="sub">Latency counts from when a call was due, not from when it was sent.</p>'
    report = reports[0]
    return (
        f'<p class="sub">{escape(report.target)} &middot; {escape(report.load)} &middot; {escape(report.started)}</p>'
    )


def _warning(report: Report) -> str:
    if not report.generator.suspect:
        return ""
    return (
        f'<p class="warn"><b>{escape(report.label)}:</b> these figures may be the generator\'s own: '
        f"{escape(report.generator.suspect)}</p>"
    )


def _cards(report: Report) -> str:
    total = report.total
    latency = total.latency
    values = [
        ("goodput", f"{total.goodput_per_s:,.1f}", "/s in time"),
        ("throughput", f"{total.throughput_per_s:,.1f}", "/s answered"),
        ("offered", f"{total.offered_per_s:,.1f}", "/s"),
        ("in time", f"{total.good_share:.1%}", f"of {total.offered_count:,} calls"),
        ("p50", _ms(latency.p50_s if latency else None), "ms"),
        ("p99", _ms(latency.p99_s if latency else None), "ms"),
    ]
    cards = "".join(
        f'<div class="card"><span>{name}</span><b>{value}</b><small>{unit}</small></div>'
        for name, value, unit in values
    )
    return f'<div class="cards">{cards}</div>'


def _summary_table(reports: Sequence[Report]) -> str:
    rows: list[str] = []
    for index, report in enumerate(reports):
        name = _dot(index) + escape(report.label) if len(reports) > 1 else "all calls"
        rows.append(_summary_row(name, report.total, strong=len(reports) > 1))
        rows += [_summary_row(escape(f"deadline {each.name}"), each) for each in report.classes]
    return f"<table>{_SUMMARY_HEAD}<tbody>{''.join(rows)}</tbody></table>"


def _step_tables(reports: Sequence[Report]) -> list[str]:
    tables: list[str] = []
    for report in reports:
        if report.steps:
            heading = f"Steps of {escape(report.label)}" if len(reports) > 1 else "Steps"
            rows = "".join(_summary_row(escape(step.name), step) for step in report.steps)
            tables.append(f"<h2>{heading}</h2><table>{_SUMMARY_HEAD}<tbody>{rows}</tbody></table>")
    return tables


_SUMMARY_HEAD = (
    "<thead><tr><th></th><th>calls</th><th>offered/s</th><th>answered/s</th><th>goodput/s</th><th>in time</th>"
    "<th>p50 ms</th><th>p90 ms</th><th>p99 ms</th><th>p99.9 ms</th><th>max ms</th></tr></thead>"
)


def _summary_row(name: str, summary: Summary, *, strong: bool = False) -> str:
    cells = [
        f"{summary.offered_count:,}",
        f"{summary.offered_per_s:,.1f}",
        f"{summary.throughput_per_s:,.1f}",
        f"<b>{summary.goodput_per_s:,.1f}</b>",
        f"{summary.good_share:.1%}",
        *_times(summary.latency),
    ]
    mark = ' class="strong"' if strong else ""
    return f"<tr{mark}><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _times(latency: Latency | None) -> list[str]:
    if latency is None:
        return ["-"] * 5
    return [_ms(each) for each in (latency.p50_s, latency.p90_s, latency.p99_s, latency.p999_s, latency.max_s)]


def _outcome_table(reports: Sequence[Report]) -> str:
    rows: list[str] = []
    for index, report in enumerate(reports):
        for outcome in report.total.outcomes:
            run = (
                f'<td class="run"><i class="dot c{index % 8}"></i>{escape(report.label)}</td>'
                if len(reports) > 1
                else ""
            )
            rows.append(
                f"<tr><th>{escape(outcome.name)}</th>{run}<td>{outcome.count:,}</td><td>{outcome.share:.2%}</td>"
                f"<td>{_ms(outcome.p50_s)}</td><td>{_ms(outcome.p99_s)}</td><td>{_ms(outcome.max_s)}</td></tr>"
            )
    run_head = '<th class="run">run</th>' if len(reports) > 1 else ""
    head = (
        f"<thead><tr><th>outcome</th>{run_head}<th>calls</th><th>share</th><th>known after p50 ms</th>"
        "<th>p99 ms</th><th>max ms</th></tr></thead>"
    )
    return f"<h2>Outcomes</h2><table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _details(reports: Sequence[Report]) -> str:
    parts: list[str] = []
    for report in reports:
        generator = report.generator
        machine = ", ".join(f"{name} {value}" for name, value in report.environment.items())
        parts.append(
            f"<p><b>{escape(report.label)}</b>: {escape(report.target)}; {escape(report.load)}; started "
            f"{escape(report.started)}; {escape(machine)}. Generator: {generator.processes} "
            f"process{'es' if generator.processes > 1 else ''}, calls sent late by p50 {_ms(generator.lag_p50_s)} ms, "
            f"p99 {_ms(generator.lag_p99_s)} ms, {generator.cpu_share:.0%} of a core a process, "
            f"{generator.cpu_per_call_s * 1e6:.0f} &micro;s of processor time a call.</p>"
        )
    return f'<h2>How this was measured</h2><div class="details">{"".join(parts)}</div>'


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _dot(index: int) -> str:
    return f'<i class="dot c{index % 8}"></i>'
