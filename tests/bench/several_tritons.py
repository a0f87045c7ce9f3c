# SPDX-License-Identifier: Apache-2.0
"""Three Tritons under load: one killed, one stopped, then both at once; what the callers see of it.

Each computes 8 rows in 60 ms (capacity 133/s). Poisson arrivals, deadline 300 ms, every answer
checked against its question. Prints Markdown. `python tests/bench/several_tritons.py`.
"""

import asyncio
import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from bench.batching_setup import CAPACITY, gateway
from bench.open_loop import InferenceCalls
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from testkit.local_triton import CACHE_DIR, copy_models

DEADLINE_S = 0.3
WINDOW_S = 0.5
BACK_SHARE = 0.95


@dataclass(frozen=True)
class Blow:
    """Something that happens to a Triton at a time of the plan."""

    at_s: float
    name: str
    act: Callable[[], None]


@dataclass(frozen=True)
class Seen:
    """What became of one call: when it was due, and how it ended."""

    due_s: float
    end: str


async def offer(calls: InferenceCalls, rate_per_s: float, duration_s: float, blows: list[Blow]) -> list[Seen]:
    """Make Poisson calls for so long while the blows fall, and return what became of each."""
    rng = random.Random(7)
    seen: list[Seen] = []
    began_s = time.monotonic()

    async def one(due_s: float) -> None:
        try:
            right = await calls.call(DEADLINE_S - (time.monotonic() - began_s - due_s), DEADLINE_S)
            in_time = time.monotonic() - began_s - due_s <= DEADLINE_S
            seen.append(Seen(due_s, ("in time" if in_time else "late") if right else "WRONG"))
        except grpc.aio.AioRpcError as error:
            seen.append(Seen(due_s, error.code().name))

    async def strike() -> None:
        for blow in blows:
            await asyncio.sleep(max(0.0, blow.at_s - (time.monotonic() - began_s)))
            await asyncio.to_thread(blow.act)

    striking = asyncio.create_task(strike())
    tasks, due_s = [], 0.0
    while (due_s := due_s + rng.expovariate(rate_per_s)) < duration_s:
        await asyncio.sleep(max(0.0, due_s - (time.monotonic() - began_s)))
        tasks.append(asyncio.create_task(one(due_s)))
    await asyncio.gather(*tasks)
    await striking
    return seen


def back_after_s(seen: list[Seen], at_s: float, until_s: float) -> float:
    """Return how long after a blow a window begins in which nearly every call is answered in time, for good."""
    begin = at_s
    found = at_s
    while begin + WINDOW_S <= until_s:
        window = [s for s in seen if begin <= s.due_s < begin + WINDOW_S]
        if window and sum(s.end == "in time" for s in window) < BACK_SHARE * len(window):
            found = begin + WINDOW_S
        begin += WINDOW_S / 5
    return found - at_s


def show(title: str, seen: list[Seen], blows: list[Blow], duration_s: float) -> None:
    ends = {end: sum(s.end == end for s in seen) for end in sorted({s.end for s in seen})}
    print(f"\n{title}: {len(seen)} calls, {ends}\n")
    print("| at s | what | back to the offered rate after s | not in time until the next event |")
    print("|---|---|---|---|")
    for blow, following in zip(blows, [*[b.at_s for b in blows[1:]], duration_s], strict=True):
        lost = sum(s.end != "in time" for s in seen if blow.at_s - DEADLINE_S <= s.due_s < following - DEADLINE_S)
        print(f"| {blow.at_s:g} | {blow.name} | {back_after_s(seen, blow.at_s, following):.1f} | {lost} |")


async def main() -> None:
    runtime = ensure_runtime(CACHE_DIR)
    with contextlib.ExitStack() as stack:
        folder = copy_models(["delay"], Path(stack.enter_context(tempfile.TemporaryDirectory())))
        a, b, c = (stack.enter_context(LocalTriton(runtime, folder, grace_s=0)) for _ in range(3))
        address = stack.enter_context(gateway(a.grpc_address, b.grpc_address, c.grpc_address))
        calls = InferenceCalls(address, "delay")

        def kill() -> None:
            os.kill(a.pid, signal.SIGKILL)
            a.wait_ended(10)

        def revive() -> None:
            a.restart()
            a.wait_ready()

        def stop() -> None:
            os.kill(b.pid, signal.SIGSTOP)

        def go_on() -> None:
            os.kill(b.pid, signal.SIGCONT)

        await offer(calls, 0.3 * 3 * CAPACITY, 3.0, [])  # latencies are learned
        apart = [
            Blow(4, "one killed with -9", kill),
            Blow(10, "and started again", revive),
            Blow(20, "another stopped", stop),
            Blow(27, "and going on", go_on),
        ]
        show("One after the other, at 0.6 of capacity", await offer(calls, 0.6 * 3 * CAPACITY, 34, apart), apart, 34)
        both = [
            Blow(4, "one killed with -9", kill),
            Blow(4.01, "and another stopped at once", stop),
            Blow(10, "the stopped one going on", go_on),
            Blow(10.01, "the killed one started again", revive),
        ]
        show("Both at once, at 0.3 of capacity", await offer(calls, 0.3 * 3 * CAPACITY, 22, both), both, 22)
        await calls.close()


if __name__ == "__main__":
    asyncio.run(main())
