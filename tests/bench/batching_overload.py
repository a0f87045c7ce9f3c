# SPDX-License-Identifier: Apache-2.0
"""Goodput under load: the gateway beside Triton's own batcher, on a model of known latency.

`python tests/bench/batching_overload.py` prints Markdown. Runs of the systems alternate, so that
what else the machine does hits all of them; ratios are within a round, their median is given with
the least and the most.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import grpc
from bench.batching_setup import CAPACITY, gateway, triton
from bench.open_loop import InferenceCalls, Run, offer, quantile
from bench.simulator.arrivals import Arrival, Deadlines, on_off, poisson
from bench.simulator.bound import clairvoyant
from bench.simulator.engine import Curve

ONE: Deadlines = (("", 0.3),)
MIXED: Deadlines = (("150 ms", 0.15), ("1 s", 1.0))
Trace = Callable[[int], Sequence[Arrival]]  # of the round


class Systems:
    """What is compared: the gateway, and Triton by itself in several settings."""

    def __init__(self, gateway_address: str, triton_address: str) -> None:
        self._triton_address = triton_address
        self.calls = {
            "gateway": InferenceCalls(gateway_address, "delay"),
            "Triton as it comes": InferenceCalls(triton_address, "delay_untuned"),
            "Triton tuned to 300 ms": InferenceCalls(triton_address, "delay_tuned"),
            "Triton, callers send `timeout`": InferenceCalls(triton_address, "delay_override", send_timeout=True),
        }

    async def run(self, name: str, arrivals: Sequence[Arrival], duration_s: float) -> Run:
        calls = self.calls[name]
        run = await offer(calls.call, arrivals, duration_s)
        # What was given up by its caller may still be in a queue: wait until a new call comes through.
        await calls.call(300.0, 300.0)
        return run

    async def close(self) -> None:
        for calls in self.calls.values():
            await calls.close()


async def compare(
    systems: Systems, names: Sequence[str], trace: Trace, rounds: int, duration_s: float
) -> dict[str, list[Run]]:
    """Offer each round's arrivals to each system in turn."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(rounds):
        arrivals = trace(number)
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            runs[name].append(await systems.run(name, arrivals, duration_s))
    return runs


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Write the median, and the range in brackets."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):.{digits}f} [{ordered[0]:.{digits}f}, {ordered[-1]:.{digits}f}]"


def milliseconds(values: Sequence[float], share: float) -> str:
    return f"{1000 * quantile(values, share):.0f}" if values else "-"


async def one_deadline(systems: Systems, loads: Sequence[float], rounds: int, duration_s: float) -> None:
    say("\n## One deadline of 300 ms, Poisson arrivals\n")
    say(
        "| load | system | goodput, 1/s | of offered | of capacity | refused at arrival: share, after p50 / p99 ms | "
        "dropped later: share, of them told after the deadline | told nothing until then |"
    )
    say("|---|---|---|---|---|---|---|---|")
    names = ["gateway", "Triton as it comes", "Triton tuned to 300 ms"]
    for load in loads:
        runs = await compare(
            systems,
            names,
            lambda number, load=load: list(poisson(load * CAPACITY, duration_s, ONE, seed=number)),  # type: ignore[misc]  # binds the loop's value
            rounds,
            duration_s,
        )
        for name in names:
            say(f"| {load} | {name} | {row(runs[name])} |")


def row(runs: Sequence[Run]) -> str:
    """Write one system's columns."""
    refused = [value for run in runs for value in run.refused_s]
    dropped = [value for run in runs for value in run.dropped_after_s]
    silent = [value for run in runs for value in run.silent_after_s]
    offered = sum(run.offered.total() for run in runs)
    return " | ".join(
        [
            f"{statistics.median(run.goodput for run in runs):.1f}",
            spread([run.in_time.total() / run.offered.total() for run in runs]),
            spread([run.goodput / CAPACITY for run in runs]),
            f"{len(refused) / offered:.1%}, {milliseconds(refused, 0.5)} / {milliseconds(refused, 0.99)}",
            f"{len(dropped) / offered:.1%}, {lateness(dropped)}",
            f"{len(silent) / offered:.1%}, {lateness(silent)}",
        ]
    )


def lateness(after_s: Sequence[float]) -> str:
    """Say how many callers heard after their deadline, and by how much at most."""
    late = [value for value in after_s if value > 0.0]
    return f"{len(late)} of {len(after_s)}" + (f" (by {1000 * max(late):.0f} ms at most)" if late else "")


async def mixed_deadlines(systems: Systems, loads: Sequence[float], rounds: int, duration_s: float) -> None:
    say("\n## Half 150 ms, half 1 s\n")
    say("| load | system | of capacity | 150 ms: answered of offered | 1 s: answered of offered |")
    say("|---|---|---|---|---|")
    names = ["gateway", "Triton, callers send `timeout`"]
    for load in loads:
        runs = await compare(
            systems,
            names,
            lambda number, load=load: list(poisson(load * CAPACITY, duration_s, MIXED, seed=number)),  # type: ignore[misc]  # binds the loop's value
            rounds,
            duration_s,
        )
        for name in names:
            by_class = [spread([run.in_time[group] / run.offered[group] for run in runs[name]]) for group, _ in MIXED]
            total = spread([run.goodput / CAPACITY for run in runs[name]])
            say(f"| {load} | {name} | {total} | {by_class[0]} | {by_class[1]} |")


async def bursts(systems: Systems, rounds: int, duration_s: float) -> None:
    say("\n## Bursts: 4 times capacity for 1 s, nothing for 3 s, deadline 300 ms\n")
    say("| system | answered in time | of the clairvoyant bound for the same arrivals |")
    say("|---|---|---|")
    names = ["gateway", "Triton tuned to 300 ms"]

    def trace(number: int) -> Sequence[Arrival]:
        return list(on_off(4 * CAPACITY, 1.0, 3.0, duration_s, ONE, seed=number))

    bounds = [clairvoyant(trace(number), 1, Curve()).in_time for number in range(rounds)]
    runs = await compare(systems, names, trace, rounds, duration_s)
    for name in names:
        counts = [run.in_time.total() for run in runs[name]]
        ratios = [count / bound for count, bound in zip(counts, bounds, strict=True)]
        say(f"| {name} | {spread(counts, 0)} | {spread(ratios)} |")


async def added_wait(systems: Systems, rounds: int) -> None:
    say("\n## One caller at a time: what the gateway adds\n")
    samples: dict[str, list[float]] = {"gateway": [], "Triton as it comes": []}
    for _ in range(rounds):
        for name, values in samples.items():
            loop = asyncio.get_running_loop()
            for _ in range(30):
                began_s = loop.time()
                await systems.calls[name].call(5.0, 5.0)
                values.append(loop.time() - began_s)
    gateway_s, direct_s = (statistics.median(values) for values in samples.values())
    say(f"p50 {1000 * gateway_s:.2f} ms through the gateway, {1000 * direct_s:.2f} ms")
    say(f"the gateway adds {1000 * (gateway_s - direct_s):.2f} ms.")


async def warm_up(name: str, calls: InferenceCalls) -> None:
    """Make ten good calls. The first ones after a start may take longer than a tuned Triton lets anybody wait."""
    good = 0
    for _ in range(100):
        try:
            right = await calls.call(10.0, 10.0)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            continue
        if not right:
            raise RuntimeError(f"a wrong answer from {name}")
        good += 1
        if good == 10:
            return
    raise RuntimeError(f"{name} refuses single calls")


async def measure(options: argparse.Namespace, gateway_address: str, triton_address: str) -> None:
    systems = Systems(gateway_address, triton_address)
    try:
        for name, calls in systems.calls.items():
            await warm_up(name, calls)
        if "wait" in options.parts:
            await added_wait(systems, options.rounds)
        if "one" in options.parts:
            await one_deadline(systems, options.loads, options.rounds, options.seconds)
        if "mixed" in options.parts:
            await mixed_deadlines(systems, [1.5, 2.0], options.rounds, options.seconds)
        if "bursts" in options.parts:
            await bursts(systems, options.rounds, 4.0 * max(2, round(options.seconds / 4)))
    finally:
        await systems.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.75, 1.0, 1.5, 2.0, 4.0])
    parser.add_argument("--parts", nargs="+", default=["wait", "one", "mixed", "bursts"])
    options = parser.parse_args()
    with triton() as server, gateway(server.grpc_address) as address:
        asyncio.run(measure(options, address, server.grpc_address))


if __name__ == "__main__":
    main()
