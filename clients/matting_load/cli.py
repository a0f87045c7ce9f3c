# SPDX-License-Identifier: Apache-2.0
"""The program `matting-load`: runs load tests, finds the highest rate that meets an SLO, compares reports."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from matting_client.program.explaining import did_you_mean
from matting_client.program.parsing import UsageError
from matting_client.version import version_of

from matting_load.arguments import EPILOG, SUMMARIES, make_parsers
from matting_load.limit import find_limit
from matting_load.plan import Plan
from matting_load.reading import (
    check_writable,
    read_plan,
    read_reports,
    read_search,
    read_thresholds,
)
from matting_load.reports.live import make_watcher
from matting_load.reports.page import render_page
from matting_load.reports.report import Report
from matting_load.reports.table import render_csv
from matting_load.reports.terminal import print_report
from matting_load.running import run
from matting_load.search import Trial, search
from matting_load.sending.reaching import UnreachableError

DONE, FAILED, USAGE, UNREACHABLE, THRESHOLD, INTERRUPTED = 0, 1, 2, 3, 4, 130

_HELP = f"""usage: matting-load COMMAND ...

Load tests of a matting gateway, of any Open Inference Protocol server, and of rembg's server.

commands (matting-load COMMAND -h tells more):
{chr(10).join(f"  {name:10}  {summary}" for name, summary in SUMMARIES.items())}

a first one, with a gateway on this machine:
  matting-load run --callers 8 --duration 20

{EPILOG.rstrip()}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code, or exits with 2 where the command line cannot be followed."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = words[0] if words else ""
    if first in ("-h", "--help", "help", "--version"):
        print(f"matting-load {version_of('matting_load')}" if first == "--version" else _HELP)
        return DONE
    commands = {"run": run_command, "search": search_command, "compare": compare_command, "limit": limit_command}
    if first not in commands:
        said = f"there is no command {first}{did_you_mean(first, commands)}" if first else "say which command"
        _refuse(f"matting-load: {said} (matting-load -h shows what there is)")
    try:
        return commands[first](make_parsers()[first].read(words[1:]))
    except (UsageError, ValueError) as error:
        _refuse(f"matting-load {first}: {error}")
    except UnreachableError as error:
        print(f"matting-load {first}: {error}", file=sys.stderr)
        return UNREACHABLE
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"matting-load {first}: {message}", file=sys.stderr)
        return FAILED
    except RuntimeError as error:
        print(f"matting-load {first}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"matting-load {first}: interrupted, nothing is reported", file=sys.stderr)
        return INTERRUPTED


def _refuse(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(USAGE)


def run_command(arguments: argparse.Namespace) -> int:
    """Run one load test."""
    plan = read_plan(arguments)
    thresholds = read_thresholds(arguments.fail_if, plan)
    check_writable(arguments.json, arguments.html, arguments.csv)
    with make_watcher(plan, quiet=arguments.quiet) as watcher:
        report = run(plan, watcher.watch, stop_on_interrupt=True)
    report = dataclasses.replace(report, verdicts=tuple(each.judge(report) for each in thresholds))
    print_report(report)
    _save(report, arguments)
    if report.interrupted:
        return INTERRUPTED
    if not report.total.throughput_per_s:
        why = "no call was answered" if report.total.offered_count else "no call came due: --duration is too short"
        print(f"matting-load run: {why}", file=sys.stderr)
        return FAILED
    return DONE if all(each.held for each in report.verdicts) else THRESHOLD


def search_command(arguments: argparse.Namespace) -> int:
    """Find the highest rate that meets the SLO."""
    slo, how = read_search(arguments)
    plan = read_plan(arguments, load=how.first_load())
    check_writable(arguments.json, arguments.html, arguments.csv)
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
    found = search(plan, slo, how, lambda each: _watched(each, arguments), on_trial)
    print(found.verdict.found)
    _save(found.as_report(plan.name), arguments)
    if found.stopped:
        return INTERRUPTED
    return DONE if found.rate_per_s else FAILED


def compare_command(arguments: argparse.Namespace) -> int:
    """Put several reports on one page, or into one CSV."""
    if not arguments.html and not arguments.csv:
        raise UsageError("nothing to write: -o PAGE.html, --csv FILE, or both")
    check_writable(arguments.html, arguments.csv)
    reports = read_reports(arguments.reports)
    if arguments.html:
        _write(arguments.html, render_page(reports, arguments.title))
    if arguments.csv:
        _write(arguments.csv, render_csv(reports))
    return DONE


def limit_command(arguments: argparse.Namespace) -> int:
    """Find the generator's own limit."""

    def on_trial(rate: float, report: Report) -> None:
        generator = report.generator
        late = f"p50 {generator.lag_p50_s * 1e3:.2f}, p99 {generator.lag_p99_s * 1e3:.2f} ms"
        cost = f"{generator.cpu_share:.0%} of a core a process, {generator.cpu_per_call_s * 1e6:.0f} µs a call"
        print(f"{rate:>8,.0f}/s  sent late by {late}; {cost}", flush=True)

    rate = find_limit(
        processes=arguments.processes,
        connections=arguments.connections,
        call_bytes=arguments.kilobytes * 1024,
        trial_s=arguments.trial,
        run=run,
        on_trial=on_trial,
    )
    print(f"calls of {arguments.kilobytes} KiB were sent on time at {rate:g}/s by {arguments.processes} process(es)")
    return DONE if rate else FAILED


def _watched(plan: Plan, arguments: argparse.Namespace) -> Report:
    with make_watcher(plan, quiet=arguments.quiet) as watcher:
        return run(plan, watcher.watch)


def _save(report: Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        _write(arguments.json, report.to_json() + "\n")
    if arguments.html:
        _write(arguments.html, render_page([report]))
    if arguments.csv:
        _write(arguments.csv, render_csv([report]))


def _write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
