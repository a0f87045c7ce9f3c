# SPDX-License-Identifier: Apache-2.0
"""The program `matting-load`: runs load tests, finds the highest rate that meets an SLO, compares reports."""

import argparse
import sys
from collections.abc import Sequence

from matting_load.arguments import UsageError, add_run_arguments, read_plan
from matting_load.live import make_watcher
from matting_load.report import Report
from matting_load.running import run
from matting_load.terminal import print_report

DONE, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    try:
        return {"run": run_command}[arguments.command](arguments)
    except (UsageError, ValueError) as error:
        parser.exit(USAGE, f"matting-load {arguments.command}: {error}\n")
    except OSError as error:
        print(f"matting-load {arguments.command}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted: nothing is reported", file=sys.stderr)
        return FAILED


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="matting-load", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("run", help="run one load test and report")
    add_run_arguments(command)
    return parser


def run_command(arguments: argparse.Namespace) -> int:
    """Run one load test."""
    plan = read_plan(arguments)
    with make_watcher(plan, quiet=arguments.quiet) as watcher:
        report = run(plan, watcher.watch)
    print_report(report)
    save(report, arguments)
    return DONE if report.total.throughput_per_s > 0 else FAILED


def save(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files asked for."""
    if arguments.json:
        report.save(arguments.json)


if __name__ == "__main__":
    sys.exit(main())
