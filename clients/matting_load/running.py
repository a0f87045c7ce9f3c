# SPDX-License-Identifier: Apache-2.0
"""Runs a plan, in this process or in several, and reports."""

import asyncio
import dataclasses
import datetime as dt
import time
from collections.abc import Callable

from matting_load.analysis import analyse
from matting_load.describe import described_plan, environment
from matting_load.driver import Driver, Shard
from matting_load.plan import Plan
from matting_load.records import Recorder, Records, Tally
from matting_load.report import Report
from matting_load.server_metrics import Batches, batch_sizes_between, read_batches
from matting_load.targets import make_sender
from matting_load.workers import run_in_processes

Watcher = Callable[[Tally], None]

# From everything being ready to the first call.
LEAD_S = 0.2
WATCH_EVERY_S = 0.25


def run(plan: Plan, watch: Watcher | None = None) -> Report:
    """Run a plan to its end and report; blocks.

    Args:
        plan: The load test.
        watch: Called about four times a second with how the test stands.

    Raises:
        ValueError: The plan cannot be followed (no photos in the folder, an unknown datatype).
        UnreachableError: No server answers at an address: nothing was sent.
        OSError: A file of the plan cannot be read.
    """
    return asyncio.run(run_async(plan, watch))


async def run_async(plan: Plan, watch: Watcher | None = None) -> Report:
    """Run a plan on the running event loop; see `run`."""
    started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    before = await _batches(plan)
    if plan.processes == 1:
        records = await _run_here(plan, watch)
    else:
        records = await asyncio.to_thread(run_in_processes, plan, watch)
    after = await _batches(plan)
    return analyse(
        plan,
        records,
        started=started,
        environment=environment(),
        described=described_plan(plan),
        batch_sizes=batch_sizes_between(before.sizes, after.sizes),
        batch_size_mean=after.mean_since(before),
    )


async def _run_here(plan: Plan, watch: Watcher | None) -> Records:
    recorder = Recorder()
    sender = await asyncio.to_thread(make_sender, plan)
    async with sender:
        watching = asyncio.create_task(_watch(recorder, watch)) if watch else None
        try:
            records = await Driver(plan, sender, recorder, Shard()).run(time.monotonic() + LEAD_S)
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
