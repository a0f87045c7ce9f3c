# SPDX-License-Identifier: Apache-2.0
"""Reports as one self-contained HTML page: no script, nothing fetched, light and dark."""

import string
from collections.abc import Sequence
from html import escape
from importlib import resources

from matting_load.reports.naming import in_common, named, title_of, what_was_sent
from matting_load.reports.plots import plots_against_load, plots_of_calls
from matting_load.reports.report import Latency, Report, Summary
from matting_load.reports.svg import number


def render_page(reports: Sequence[Report], title: str = "") -> str:
    """Write one page over one report, or several compared; those without labels are called by what differs.

    Raises:
        ValueError: There is no report.
    """
    if not reports:
        raise ValueError("a page needs at least one report")
    if len(reports) > 1 and len({report.label for report in reports}) < len(reports):
        reports = named(reports)
    names = ", ".join(report.label for report in reports)
    title = title or (title_of(reports[0]) if len(reports) == 1 else f"{len(reports)} runs compared: {names}")
    template = string.Template(resources.files("matting_load").joinpath("page.html").read_text(encoding="utf-8"))
    one = reports[0] if len(reports) == 1 else None
    steps = _step_tables(reports)
    test = [_cards(one) if one else "", _summary_table(reports), _LEGEND]
    against_load, of_calls = plots_against_load(reports), plots_of_calls(reports)
    if one and one.searched:
        # A search is about its rates; the figures of calls at the best one come after.
        figures = [*steps, _plots(against_load), *test, _plots(of_calls)]
    else:
        figures = [*test, *steps, _plots([*against_load, *of_calls])]
    body = [
        f"<h1>{escape(title)}</h1>",
        _subtitle(reports),
        *(_warning(report) for report in reports),
        _verdicts(reports),
        *figures,
        _outcome_table(reports),
        _details(reports),
    ]
    return template.substitute(title=escape(title), body="\n".join(filter(None, body)))


_LEGEND = (
    '<p class="legend"><b>offered</b>: calls that were due. <b>answered</b>: those that got a result, however late. '
    "<b>in time</b> (their rate is the <b>goodput</b>): those whose result came by their deadline; without a deadline, "
    "all that were answered. Latency is of what was answered, from when a call was due, not from when it was sent.</p>"
)


def _subtitle(reports: Sequence[Report]) -> str:
    report = reports[0]
    if len(reports) > 1:
        parts = [in_common(reports)]
    else:
        parts = ["" if report.label == report.target else report.target, what_was_sent(report), report.started]
    return f'<p class="sub">{" &middot; ".join(map(escape, filter(None, parts)))}</p>'


def _plots(plots: Sequence[str]) -> str:
    drawn = "".join(plots)
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def _verdicts(reports: Sequence[Report]) -> str:
    rows = [
        f'<tr class="{each.word}"><th>{each.word}</th>'
        + _run_cell(reports, index)
        + f'<td class="run">{escape(each.asked)}</td><td class="run">{escape(each.found)}</td></tr>'
        for index, report in enumerate(reports)
        for each in report.verdicts
    ]
    return f'<table class="verdicts"><tbody>{"".join(rows)}</tbody></table>' if rows else ""


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
        ("offered", f"{total.offered_per_s:,.1f}", "calls/s"),
        ("answered", f"{total.throughput_per_s:,.1f}", "calls/s"),
        ("in time (goodput)", f"{total.goodput_per_s:,.1f}", "calls/s"),
        ("in time", f"{total.good_share:.1%}", f"of {total.offered_count:,} calls"),
        ("latency p50", _ms(latency.p50_s if latency else None), "ms"),
        ("latency p99", _ms(latency.p99_s if latency else None), "ms"),
    ]
    cards = "".join(
        f'<div class="card"><span>{name}</span><b>{value}</b><small>{unit}</small></div>'
        for name, value, unit in values
    )
    which = f"<h2>At {escape(total.name)}</h2>" if report.searched else ""
    return f'{which}<div class="cards">{cards}</div>'


def _summary_table(reports: Sequence[Report]) -> str:
    rows: list[str] = []
    for index, report in enumerate(reports):
        if len(reports) > 1:
            at = f", at {escape(report.total.name)}" if report.searched else ""
            name = f"{_dot(index)}{escape(report.label)}{at}"
        else:
            name = escape(report.total.name) if report.searched else "all calls"
        rows.append(_summary_row(name, report.total, strong=len(reports) > 1))
        rows += [_summary_row(escape(f"deadline {each.name}"), each) for each in report.classes]
    return f"<table>{_SUMMARY_HEAD}<tbody>{''.join(rows)}</tbody></table>"


def _step_tables(reports: Sequence[Report]) -> list[str]:
    tables: list[str] = []
    for report in reports:
        if report.steps:
            heading = "Rates tried" if report.searched else "Steps"
            heading += f" of {escape(report.label)}" if len(reports) > 1 else ""
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
    mark = ' class="strong"' if strong else ' class="failed"' if name.endswith("(missed)") else ""
    return f"<tr{mark}><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _times(latency: Latency | None) -> list[str]:
    if latency is None:
        return ["-"] * 5
    return [_ms(each) for each in (latency.p50_s, latency.p90_s, latency.p99_s, latency.p999_s, latency.max_s)]


def _outcome_table(reports: Sequence[Report]) -> str:
    rows: list[str] = []
    for index, report in enumerate(reports):
        for outcome in report.total.outcomes:
            run = _run_cell(reports, index)
            said = "".join(f"<small>{escape(each)}</small>" for each in outcome.messages)
            rows.append(
                f"<tr><th>{escape(outcome.name)}{said}</th>{run}<td>{outcome.count:,}</td><td>{outcome.share:.2%}</td>"
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
    return "-" if seconds is None else number(seconds * 1e3)


def _run_cell(reports: Sequence[Report], index: int) -> str:
    return f'<td class="run">{_dot(index)}{escape(reports[index].label)}</td>' if len(reports) > 1 else ""


def _dot(index: int) -> str:
    return f'<i class="dot c{index % 8}"></i>'
