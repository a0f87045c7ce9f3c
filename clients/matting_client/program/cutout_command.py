# SPDX-License-Identifier: Apache-2.0
"""`matting cutout`: does it, and tells a person or a script how it goes."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from matting_client.aio import AsyncClient
from matting_client.errors import MattingError
from matting_client.program.connecting import Server, code_of
from matting_client.program.cutout import CutoutRun, FileOutcome
from matting_client.program.parsing import DONE, FAILED, INTERRUPTED, stop_printing
from matting_client.program.printing import outcome_json
from matting_client.program.progress import Progress, make_progress
from matting_client.program.reading import CutoutOrder, read_cutout
from matting_client.program.retrier import Retrier
from matting_client.transport.retry import RetryPolicy


def run_cutout(server: Server, **given: Any) -> int:
    """Cut out every photo, telling how it goes on standard error; returns the exit code.

    Raises:
        ValueError: What is given contradicts itself, or a file, a folder or an address is not as it says.
    """
    order = read_cutout(given)
    with make_progress(len(order.jobs), quiet=given["quiet"]) as progress:
        _tell_before(order, progress)
        reporter = _OutcomeReporter(progress, as_json=given["as_json"], timeout_s=server.timeout)
        for job in order.kept:
            reporter.report(FileOutcome(job, "skipped"))
        try:
            asyncio.run(_cut_out(server, order, reporter, given["concurrency"]))
        except KeyboardInterrupt:
            progress.complain(f"interrupted: {_counts(order, reporter.outcomes)}; what is written is whole")
            return INTERRUPTED
        outcomes = reporter.outcomes
        stopped_by = next((outcome.cause for outcome in outcomes if outcome.of_all), None)
        if stopped_by is not None:
            answered = any(outcome.status == "done" for outcome in outcomes)
            progress.complain(f"matting cutout: {server.explain(stopped_by, order.plan.model, answered=answered)}")
        _sum_up(order, outcomes, progress)
    if stopped_by is not None:
        return code_of(stopped_by)
    return FAILED if any(outcome.status == "failed" for outcome in outcomes) else DONE


def _tell_before(order: CutoutOrder, progress: Progress) -> None:
    if order.not_local:
        progress.say(f"composing at the server: {order.not_local}")
    elif order.plan.local and sys.stderr.isatty() and sys.stdout.isatty():
        progress.say("asking for the alpha only and composing here; --server-side has the server do it")
    if order.left_out:
        progress.say(f"left out: folders below {', '.join(order.left_out)}; --recursive takes them as well")


def _sum_up(order: CutoutOrder, outcomes: Sequence[FileOutcome], progress: Progress) -> None:
    (first, *others) = outcomes
    if others:
        progress.say(_counts(order, outcomes))
    elif first.status == "skipped":
        progress.say(f"{first.job.target_name} is there already")
    elif first.status == "done" and first.job.target is not None:
        progress.say(f"wrote {first.job.target_name}")


class _OutcomeReporter:
    """Prints outcomes as they come, and keeps them."""

    def __init__(self, progress: Progress, *, as_json: bool, timeout_s: float) -> None:
        self._progress = progress
        self._as_json = as_json
        self._timeout_s = timeout_s
        self.outcomes: list[FileOutcome] = []

    def report(self, outcome: FileOutcome) -> None:
        self.outcomes.append(outcome)
        if outcome.status != "skipped":
            self._progress.advance()
        if self._as_json:
            self._print(outcome_json(outcome))
        name = outcome.job.source_name
        if outcome.status == "failed" and not outcome.of_all:
            self._progress.complain(f"{name}: {outcome.error}")
        elif outcome.note:
            self._progress.say(f"{name}: {outcome.note}")

    def report_wait(self, error: MattingError) -> None:
        self._progress.say(f"waiting, for at most {self._timeout_s:g} s (--timeout): {error.message}")

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)  # noqa: T201 - what a script reads
        except BrokenPipeError:  # whoever read it has seen enough; the files are made all the same
            stop_printing()
            self._as_json = False


async def _cut_out(server: Server, order: CutoutOrder, reporter: _OutcomeReporter, concurrency: int) -> None:
    # The retrier tries again, not the client.
    async with server.client(AsyncClient, RetryPolicy(max_attempts=1)) as client:
        retrier = Retrier(server.timeout, reporter.report_wait)
        await CutoutRun(client, order.jobs, order.plan, retrier, reporter.report).run(concurrency=concurrency)


def _counts(order: CutoutOrder, outcomes: Sequence[FileOutcome]) -> str:
    """Say how many photos became what; those without an outcome were not tried."""
    of = {status: sum(outcome.status == status for outcome in outcomes) for status in ("done", "skipped", "failed")}
    count = len(order.jobs) + len(order.kept)
    parts = [f"{of['done']} of {count} done"]
    if of["skipped"]:
        parts.append(f"{of['skipped']} there already")
    if untried_count := count - sum(of.values()):
        parts.append(f"{untried_count} not tried")
    return ", ".join(parts)
