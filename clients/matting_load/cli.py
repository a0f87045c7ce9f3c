# SPDX-License-Identifier: Apache-2.0
"""The program `matting-load`: runs load tests, finds the highest rate that meets an SLO, compares reports."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from matting_client.program.parsing import DONE, FAILED, INTERRUPTED, UNREACHABLE, Command, Program

from matting_load.arguments import COMPARE, EPILOG, LIMIT, RUN, SEARCH
from matting_load.limit import find_limit
from matting_load.plan import Plan
from matting_load.reading import check_writable, read_plan, read_reports, read_search, read_thresholds
from matting_load.reports.live import make_watcher
from matting_load.reports.page import render_page
from matting_load.reports.report import Report
from matting_load.reports.table import render_csv
from matting_load.reports.terminal import print_report
from matting_load.running import run
from matting_load.search import Trial, search
from matting_load.sending.reaching import UnreachableError

THRESHOLD = 4  # beside the codes of all programs

_ABOUT = """Load tests of a matting gateway, of any Open Inference Protocol server, and of rembg's server.

\b
a first one, with a gateway on this machine:
  matting-load run --callers 8 --duration 20"""


class MattingLoad(Program):
    """The program."""

    package = "matting_load"
    codes: ClassVar = {UnreachableError: UNREACHABLE, OSError: FAILED, RuntimeError: FAILED}
    interrupted = "{command}: interrupted, nothing is reported"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code, or exits with 2 where the command line cannot be followed."""
    commands = [
        Command("run", "run one load test and report", run_command, RUN),
        Command("search", "find the highest rate that meets an SLO", search_command, SEARCH),
        Command("compare", "put several reports on one page, or into one CSV", compare_command, COMPARE),
        Command("limit", "find the rate at which this generator is the bottleneck", limit_command, LIMIT),
    ]
    return MattingLoad("matting-load", _ABOUT, EPILOG, commands).run(argv)


def run_command(**given: Any) -> int:
    """Run one load test."""
    plan = read_plan(given)
    thresholds = read_thresholds(given["fail_if"], plan)
    check_writable(given["json"], given["html"], given["csv"])
    with make_watcher(plan, quiet=given["quiet"]) as watcher:
        report = run(plan, watcher.watch, stop_on_interrupt=True)
    report = dataclasses.replace(report, verdicts=tuple(each.judge(report) for each in thresholds))
    print_report(report)
    _save(report, given)
    if report.interrupted:
        return INTERRUPTED
    if not report.total.throughput_per_s:
        why = "no call was answered" if report.total.offered_count else "no call came due: --duration is too short"
        print(f"matting-load run: {why}", file=sys.stderr)
        return FAILED
    return DONE if all(each.held for each in report.verdicts) else THRESHOLD


def search_command(**given: Any) -> int:
    """Find the highest rate that meets the SLO."""
    slo, how = read_search(given)
    plan = read_plan(given, load=how.first_load())
    check_writable(given["json"], given["html"], given["csv"])
    if slo.p99_s is None and all(each.deadline_s is None for each in plan.deadlines):
        print(
            "without --deadline-ms or --p99-ms every answer is in time, however late: only failures end the search",
            file=sys.stderr,
        )

    def on_trial(trial: Trial) -> None:
        total = trial.report.total
        tail = f"p99 {total.latency.p99_s * 1e3:,.0f} ms" if total.latency else "no answers"
        verdict = "met" if trial.met else "missed"
        share = f"{total.good_share:7.2%} of {total.offered_count:,} in time"
        print(f"{trial.rate_per_s:>10,.4g}/s  {verdict:6}  {share}, {tail}", flush=True)
        if trial.report.generator.suspect:
            print(f"{'':12}  the generator: {trial.report.generator.suspect}")

    print(f"{plan.name}: the highest rate with {slo}")
    found = search(plan, slo, how, lambda each: _watched(each, quiet=given["quiet"]), on_trial)
    print(found.verdict.found)
    _save(found.as_report(plan.name), given)
    if found.stopped:
        return INTERRUPTED
    return DONE if found.rate_per_s else FAILED


def compare_command(reports: Sequence[str], html: str | None, csv: str | None, title: str) -> int:
    """Put several reports on one page, or into one CSV."""
    if not html and not csv:
        raise ValueError("nothing to write: -o PAGE.html, --csv FILE, or both")
    check_writable(html, csv)
    compared = read_reports(reports)
    if html:
        _write(html, render_page(compared, title))
    if csv:
        _write(csv, render_csv(compared))
    return DONE


def limit_command(processes: int, connections: int, kilobytes: int, trial: float) -> int:
    """Find the generator's own limit."""

    def on_trial(rate: float, report: Report) -> None:
        generator = report.generator
        late = f"p50 {generator.lag_p50_s * 1e3:.2f}, p99 {generator.lag_p99_s * 1e3:.2f} ms"
        cost = f"{generator.cpu_share:.0%} of a core a process, {generator.cpu_per_call_s * 1e6:.0f} µs a call"
        print(f"{rate:>8,.0f}/s  sent late by {late}; {cost}", flush=True)

    rate = find_limit(
        processes=processes,
        connections=connections,
        call_bytes=kilobytes * 1024,
        trial_s=trial,
        run=run,
        on_trial=on_trial,
    )
    print(f"calls of {kilobytes} KiB were sent on time at {rate:g}/s by {processes} process(es)")
    return DONE if rate else FAILED


def _watched(plan: Plan, *, quiet: bool) -> Report:
    with make_watcher(plan, quiet=quiet) as watcher:
        return run(plan, watcher.watch)


def _save(report: Report, given: Mapping[str, Any]) -> None:
    if given["json"]:
        _write(given["json"], report.to_json() + "\n")
    if given["html"]:
        _write(given["html"], render_page([report]))
    if given["csv"]:
        _write(given["csv"], render_csv([report]))


def _write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
