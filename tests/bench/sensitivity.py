# SPDX-License-Identifier: Apache-2.0
"""Which constants of batching matter: each at half and at double, and what that does to goodput in virtual time.

All scenarios are offered 1.5 times what they can do. A share (`_DECAY`, `_QUANTILE`) is varied by its distance from 1,
a factor (`_ACCIDENT`, `_STRAGGLING`) likewise. Each run is compared with that of the constants as they are, with the
same arrivals; the figure is the median over seeds. Run as `PYTHONPATH=tests python tests/bench/sensitivity.py`.
"""

import argparse
import itertools
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

from bench.simulator.arrivals import Arrival, Deadlines, poisson
from bench.simulator.engine import Curve, World
from bench.simulator.policies import Gateway
from matting_gateway.batching.endpoints import endpoint_set, probing
from matting_gateway.batching.latency import latency_model, speed_change
from matting_gateway.batching.settings import BatchingSettings

LOAD = 1.5
MATTERS = 0.005
# Constants as (where, name, how it is varied): a value by factors, a share or a factor by its distance from 1.
CONSTANTS: tuple[tuple[ModuleType | None, str, str], ...] = (
    (latency_model, "_DECAY", "distance"),
    (latency_model, "_MAX_WEIGHT", "value"),
    (latency_model, "_MIN_WEIGHT", "value"),
    (latency_model, "_RESCALED_WEIGHT", "value"),
    (latency_model, "_LINE_WEIGHT", "value"),
    (latency_model, "_PRIOR_SLOPE", "value"),
    (latency_model, "_COLD_COUNT", "count"),
    (latency_model, "_WINDOW", "count"),
    (latency_model, "_QUANTILE", "distance"),
    (latency_model, "_TOLERABLE", "distance"),
    (latency_model, "_REFRESH_COUNT", "count"),
    (latency_model, "_EFFICIENT", "distance"),
    (speed_change, "_ACCIDENT", "distance"),
    (speed_change, "_SLOWER_STREAK", "count"),
    (speed_change, "_QUICKER_STREAK", "count"),
    (endpoint_set, "_STRAGGLING", "distance"),
    (endpoint_set, "_COLD_GUESS_S", "value"),
    (probing, "_BUSY_FACTOR", "value"),
    (None, "prefetch_lead_s", "value"),
    (None, "prefetch_lead_share", "value"),
    (None, "probe_interval_s", "value"),
    (None, "demand_window_s", "value"),
)


class Stepped(Curve):
    """An engine that computes batches of 1, 2, 4 and 8 rows only, and fills others up."""

    def seconds(self, rows: int, draw: random.Random) -> float:
        return super().seconds(next(size for size in (1, 2, 4, 8, rows) if size >= rows), draw)


@dataclass(frozen=True)
class Scenario:
    """Endpoints, how long their batches take, until when callers want their answers, and when which one is slow."""

    name: str
    endpoint_count: int
    curve: Curve
    deadlines: Deadlines
    pace: Callable[[int, float], float] = lambda _endpoint, _time_s: 1.0
    quick_count: float = 0.0  # endpoints' worth of capacity, where not all of them are there all the time

    def arrivals(self, duration_s: float, seed: int) -> list[Arrival]:
        rate = LOAD * self.curve.capacity * (self.quick_count or self.endpoint_count)
        return list(poisson(rate, duration_s, self.deadlines, seed))


ONE: Deadlines = (("", 0.3),)
TIGHT_AND_LOOSE: Deadlines = (("tight", 0.15), ("loose", 1.0))
SCENARIOS = (
    Scenario("even", 1, Curve(noise_share=0.02), ONE),
    Scenario("uneven", 1, Curve(noise_share=0.2), ONE),
    Scenario("in steps", 2, Stepped(noise_share=0.05), TIGHT_AND_LOOSE),
    Scenario("slow spells", 1, Curve(noise_share=0.05), ONE, lambda _, t: 6.0 if t % 10.0 > 6.0 else 1.0, 0.7),
    Scenario("one of two slow", 2, Curve(noise_share=0.05), ONE, lambda endpoint, _: 3.0 if endpoint else 1.0, 1.33),
)


@contextmanager
def varied(where: ModuleType | None, name: str, value: float) -> Iterator[BatchingSettings]:
    """Have a constant another value meanwhile; yields the settings to run with."""
    if where is None:
        yield replace(BatchingSettings(), **{name: value})  # type: ignore[arg-type]  # none of those varied is a count
        return
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield BatchingSettings()
    finally:
        setattr(where, name, before)


def other_values(value: float, how: str) -> tuple[float, float]:
    """Return what a constant is at half and at double."""
    if how == "distance":
        return tuple(max(1.0 + (value - 1.0) * factor, 0.0) for factor in (0.5, 2.0))  # type: ignore[return-value]  # two
    if how == "count":
        return max(1, int(value) // 2), 2 * int(value)
    return value / 2, value * 2


def goodput(scenario: Scenario, settings: BatchingSettings, duration_s: float, seed: int) -> int:
    world = World(scenario.endpoint_count, scenario.curve, seed, pace=scenario.pace)
    return world.simulate(Gateway(world, settings), scenario.arrivals(duration_s, seed)).in_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration-s", type=float, default=20.0, help="of virtual time, each run")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    runs = list(itertools.product(SCENARIOS, seeds))
    before = {
        (scenario.name, seed): goodput(scenario, BatchingSettings(), options.duration_s, seed)
        for scenario, seed in runs
    }
    sys.stdout.write("| constant | is | half, double | " + " | ".join(one.name for one in SCENARIOS) + " | matters |\n")
    sys.stdout.write("|---" * (len(SCENARIOS) + 4) + "|\n")
    for where, name, how in CONSTANTS:
        value = getattr(BatchingSettings() if where is None else where, name)
        others = other_values(value, how)
        changes: dict[str, list[float]] = {scenario.name: [] for scenario in SCENARIOS}
        for other, scenario in itertools.product(others, SCENARIOS):
            with varied(where, name, other) as settings:
                ratios = [
                    goodput(scenario, settings, options.duration_s, seed) / before[scenario.name, seed]
                    for seed in seeds
                ]
            changes[scenario.name].append(statistics.median(ratios) - 1.0)
        cells = " | ".join(f"{half:+.1%}, {double:+.1%}" for half, double in changes.values())
        matters = any(abs(change) >= MATTERS for pair in changes.values() for change in pair)
        tried = ", ".join(f"{other:g}" for other in others)
        sys.stdout.write(f"| `{name}` | {value:g} | {tried} | {cells} | {'yes' if matters else 'no'} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
