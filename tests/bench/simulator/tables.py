# SPDX-License-Identifier: Apache-2.0
"""Goodput of each policy, as tables in Markdown."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.simulator.arrivals import Arrival, Deadlines, on_off, poisson, trace
from bench.simulator.bound import clairvoyant
from bench.simulator.engine import Curve, Policy, Tally, World
from bench.simulator.policies import Clipper, Gateway, Triton

ONE: Deadlines = (("", 0.3),)
MIXED: Deadlines = (("150 ms", 0.15), ("1 s", 1.0))

Make = Callable[[World], Policy]

POLICIES: dict[str, Make] = {
    "gateway": Gateway,
    "first come, no delay (Triton)": lambda _: Triton(),
    "first come, 20 ms delay (Triton)": lambda _: Triton(delay_s=0.020),
    "first come, REJECT after 200 ms (Triton)": lambda _: Triton(timeout_s=0.200),
    "AIMD (Clipper)": lambda _: Clipper(objective_s=0.15),
}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def duration(job_count: int, rate: float) -> float:
    """Return seconds that are many deadlines long, whatever the number of endpoints."""
    return max(job_count / rate, 4.0)


def compare(arrivals: Sequence[Arrival], endpoint_count: int, curve: Curve) -> tuple[dict[str, Tally], Tally]:
    """Offer the same arrivals to every policy, and count what is possible at all."""
    tallies: dict[str, Tally] = {}
    for name, make in POLICIES.items():
        world = World(endpoint_count, curve)
        tallies[name] = world.simulate(make(world), arrivals)
    return tallies, clairvoyant(arrivals, endpoint_count, curve)


def one_deadline(endpoint_counts: Sequence[int], loads: Sequence[float], job_count: int, curve: Curve) -> None:
    for endpoint_count in endpoint_counts:
        capacity = curve.capacity * endpoint_count
        say(f"\n## {endpoint_count} endpoint(s), capacity {capacity:.0f}/s, Poisson, deadline 300 ms\n")
        say("Answers in time, as a share of the clairvoyant bound; in brackets, of capacity.\n")
        say("| load | bound, of capacity | " + " | ".join(POLICIES) + " |")
        say("|---" * (len(POLICIES) + 2) + "|")
        for load in loads:
            duration_s = duration(job_count, load * capacity)
            arrivals = list(poisson(load * capacity, duration_s, ONE))
            tallies, bound = compare(arrivals, endpoint_count, curve)
            cells = [
                f"{tally.in_time / bound.in_time:.3f} ({tally.in_time / duration_s / capacity:.2f})"
                for tally in tallies.values()
            ]
            say(f"| {load} | {bound.in_time / duration_s / capacity:.3f} | " + " | ".join(cells) + " |")


def mixed_deadlines(endpoint_counts: Sequence[int], loads: Sequence[float], job_count: int, curve: Curve) -> None:
    say("\n## Half 150 ms, half 1 s\n")
    say("Answers in time of capacity; in brackets the share answered of the 150 ms and of the 1 s offers.\n")
    say("| endpoints | load | " + " | ".join(POLICIES) + " |")
    say("|---" * (len(POLICIES) + 2) + "|")
    for endpoint_count in endpoint_counts:
        capacity = curve.capacity * endpoint_count
        for load in loads:
            duration_s = duration(job_count, load * capacity)
            tallies, _ = compare(list(poisson(load * capacity, duration_s, MIXED)), endpoint_count, curve)
            cells = []
            for tally in tallies.values():
                tight, loose = (tally.in_time_by[name] / tally.offered_by[name] for name, _ in MIXED)
                cells.append(f"{tally.in_time / duration_s / capacity:.2f} ({tight:.2f}, {loose:.2f})")
            say(f"| {endpoint_count} | {load} | " + " | ".join(cells) + " |")


def other_arrivals(name: str, arrivals: Sequence[Arrival], endpoint_count: int, curve: Curve) -> None:
    say(f"\n## {name}\n")
    say("| policy | answers in time, of the clairvoyant bound | refused at arrival | dropped later | late |")
    say("|---|---|---|---|---|")
    tallies, bound = compare(arrivals, endpoint_count, curve)
    for policy, tally in tallies.items():
        shares = [f"{count / tally.offered:.1%}" for count in (tally.refused, tally.dropped, tally.late)]
        say(f"| {policy} | {tally.in_time / bound.in_time:.3f} | " + " | ".join(shares) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.75, 1.0, 1.2, 1.5, 2.0, 4.0])
    parser.add_argument("--jobs", type=int, default=60_000, help="of each run, at the least")
    parser.add_argument("--noise", type=float, default=0.02, help="standard deviation of a batch's latency, as a share")
    parser.add_argument("--trace", type=Path, help="also replay this file: a time in seconds a line")
    options = parser.parse_args()
    curve = Curve(noise_share=options.noise)
    say("A batch of n takes 20 ms + 5 ms n, at most 8 rows; nothing is tuned but where a name says so.")
    one_deadline(options.endpoints, options.loads, options.jobs, curve)
    small = [count for count in options.endpoints if count <= 64]
    mixed_deadlines(small, [1.0, 1.5, 2.0], options.jobs, curve)
    bursts = list(on_off(4 * curve.capacity, 1.0, 3.0, 200.0, ONE))
    other_arrivals("Bursts on 1 endpoint: 4 times capacity for 1 s, nothing for 3 s, deadline 300 ms", bursts, 1, curve)
    if options.trace:
        other_arrivals(f"The trace {options.trace.name}", list(trace(options.trace, 0.3)), 1, curve)
