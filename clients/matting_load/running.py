# SPDX-License-Identifier: Apache-2.0
"""Runs a plan, in this process or in several, and reports."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Callable

from matting_load.interrupts import interrupt_children, stopped_by_signal
from matting_load.plan import Plan
from matting_load.reports.analysis import analyse
from matting_load.reports.describe import described_plan, environment
from matting_load.reports.report import Report
from matting_load.reports.server_metrics import Batches, batch_sizes_between, read_batches
from matting_load.sending.driver import Driver, Shard
from matting_load.sending.records import Recorder, Records, Tally
from matting_load.sending.targets import make_sender
from matting_load.sending.workers import run_in_processes

Watcher = Callable[[Tally], None]

# From when everything is ready to the first call.
LEAD_S = 0.2
WATCH_EVERY_S = 0.25


def run(plan: Plan, watch: Watcher | None = None, *, stop_on_interrupt: bool = False) -> Report:
    """Run a plan to its end and report; blocks.

    Args:
        plan: The load test.
        watch: Called about four times a second with how the test stands.
        stop_on_interrupt: At SIGINT (Ctrl-C) stop and report what was seen until then; at a second one give up.

    Raises:
        ValueError: The plan cannot be followed (no photos in the folder, an unknown datatype).
        UnreachableError: No server answers at an address: nothing was sent.
        OSError: A file of the plan cannot be read.
        KeyboardInterrupt: Stopped before anything counted.
    """
    return asyncio.run(run_async(plan, watch, stop_on_interrupt=stop_on_interrupt))


async def run_async(plan: Plan, watch: Watcher | None = None, *, stop_on_interrupt: bool = False) -> Report:
    """Run a plan on the running event loop; see `run`."""
    started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    before = await _batches(plan)
    if plan.processes == 1:
        records = await _run_here(plan, watch, stop_on_interrupt)
    else:
        with stopped_by_signal(interrupt_children) if stop_on_interrupt else contextlib.nullcontext():
            records = await asyncio.to_thread(run_in_processes, plan, watch)
    after = await _batches(plan)
    try:
        return analyse(
            plan,
            records,
            started=started,
            environment=environment(),
            described=described_plan(plan),
            batch_sizes=batch_sizes_between(before.sizes, after.sizes),
            batch_size_mean=after.mean_since(before),
        )
    except ValueError as error:
        if records.stopped_s is None:
            raise
        raise KeyboardInterrupt from error


async def _run_here(plan: Plan, watch: Watcher | None, stop_on_interrupt: bool) -> Records:
    recorder = Recorder()
    sender = await asyncio.to_thread(make_sender, plan)
    async with sender:
        watching = asyncio.create_task(_watch(recorder, watch)) if watch else None
        driver = Driver(plan, sender, recorder, Shard())
        try:
            with stopped_by_signal(driver.stop) if stop_on_interrupt else contextlib.nullcontext():
                records = await driver.run(time.monotonic() + LEAD_S)
            return dataclasses.replace(records, errors=sender.errors.kept())
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])


async def _watch(recorder: Recorder, watch: Watcher) -> None:
    while True:
        watch(recorder.tally())
        await asyncio.sleep(WATCH_EVERY_S)


async def _batches(plan: Plan) -> Batches:
    return await asyncio.to_thread(read_batches, plan.metrics_url) if plan.metrics_url else Batches()
