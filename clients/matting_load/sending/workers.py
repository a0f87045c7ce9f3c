# SPDX-License-Identifier: Apache-2.0
"""Several sending processes, started at the same instant.

Each tells when it is ready, is told when to start (the monotonic clock is one for all processes
of a machine), tells now and then how it stands, and hands its records over at the end.
"""

import asyncio
import contextlib
import dataclasses
import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from matting_load.plan import Plan
from matting_load.sending.driver import Driver, Shard
from matting_load.sending.records import Recorder, Records, Tally, merge
from matting_load.sending.targets import make_sender

LEAD_S = 0.3
_TELL_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class _Ready:
    """The process can start."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """The process cannot go on."""

    error: OSError | ValueError


def run_in_processes(plan: Plan, watch: Callable[[Tally], None] | None = None) -> Records:
    """Run a plan in `plan.processes` processes and join what they saw; blocks.

    Raises:
        ValueError: The plan cannot be followed.
        OSError: No server answers, or a file of the plan cannot be read.
        RuntimeError: A process died.
    """
    # A forked child would inherit grpc's threads half-way through their work.
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection[object, object]] = []
    processes = []
    try:
        for index in range(plan.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(plan, Shard(index, plan.processes), theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            _receive(pipe)
        start_s = time.monotonic() + LEAD_S
        for pipe in pipes:
            pipe.send(start_s)
        return merge(_collect(pipes, watch))
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()


def _collect(pipes: list["Connection[object, object]"], watch: Callable[[Tally], None] | None) -> list[Records]:
    done: dict[int, Records] = {}
    tallies = [Tally() for _ in pipes]
    while len(done) < len(pipes):
        open_pipes = {pipe: index for index, pipe in enumerate(pipes) if index not in done}
        for pipe in wait(list(open_pipes)):
            index = next(number for each, number in open_pipes.items() if each is pipe)
            message = _receive(pipes[index])
            if isinstance(message, Records):
                done[index] = message
            elif isinstance(message, Tally):
                tallies[index] = message
        if watch is not None:
            watch(sum(tallies, Tally()))
    return [done[index] for index in range(len(pipes))]


def _receive(pipe: "Connection[object, object]") -> object:
    try:
        message = pipe.recv()
    except EOFError as error:
        raise RuntimeError("a sending process died") from error
    if isinstance(message, _Failed):
        raise message.error
    return message


def _work(plan: Plan, shard: Shard, pipe: "Connection[object, object]") -> None:
    try:
        asyncio.run(_send_all(plan, shard, pipe))
    except (OSError, ValueError) as error:
        # The parent may have closed the pipe, if another process failed before.
        with contextlib.suppress(BrokenPipeError):
            pipe.send(_Failed(error))
    except KeyboardInterrupt:
        pipe.close()


async def _send_all(plan: Plan, shard: Shard, pipe: "Connection[object, object]") -> None:
    recorder = Recorder()
    async with make_sender(plan) as sender:
        pipe.send(_Ready())
        start_s = float(str(pipe.recv()))
        telling = asyncio.create_task(_tell(recorder, pipe))
        try:
            driver = Driver(plan, sender, recorder, shard)
            stop_at_interrupts(driver.stop)
            records = await driver.run(start_s)
        finally:
            telling.cancel()
            await asyncio.wait([telling])
    pipe.send(dataclasses.replace(records, errors=sender.errors.kept()))


def stop_at_interrupts(stop: Callable[[], None]) -> None:
    """Have every SIGINT from now on do no more than that: this process ends once its rows are handed over.

    SIGINT comes from the terminal and from the parent, to any thread, and at any time. A handler of the loop's own
    would go with the loop, and the next one end what remains of the process with a traceback.
    """
    loop = asyncio.get_running_loop()

    def stop_soon(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(stop)

    signal.signal(signal.SIGINT, stop_soon)


async def _tell(recorder: Recorder, pipe: "Connection[object, object]") -> None:
    while True:
        await asyncio.sleep(_TELL_EVERY_S)
        pipe.send(recorder.tally())
