# SPDX-License-Identifier: Apache-2.0
"""What the policy achieves on simulated endpoints, of 20 ms + 5 ms a row and at most 8 rows."""

import heapq

import pytest
from bench.simulator.arrivals import Arrival, on_off, poisson
from bench.simulator.bound import clairvoyant
from bench.simulator.engine import Curve, Tally, World
from bench.simulator.policies import Gateway
from matting_gateway.batching.settings import BatchingSettings

CURVE = Curve(noise_share=0.02)
ONE = (("", 0.3),)
MIXED = (("tight", 0.15), ("loose", 1.0))


def simulate(arrivals: list[Arrival], endpoint_count: int = 1, curve: Curve = CURVE) -> Tally:
    world = World(endpoint_count, curve)
    tally = world.simulate(Gateway(world), arrivals)
    assert tally.in_time + tally.late + tally.refused + tally.dropped == tally.offered
    return tally


def offers(load: float, duration_s: float = 40.0, deadlines: tuple[tuple[str, float], ...] = ONE) -> list[Arrival]:
    return list(poisson(load * CURVE.capacity, duration_s, deadlines))


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.5, 0.75])
def test_below_capacity_everybody_is_answered_in_time(load: float) -> None:
    tally = simulate(offers(load))
    assert tally.in_time >= 0.99 * tally.offered


@pytest.mark.slow
@pytest.mark.parametrize("load", [1.5, 2.0, 4.0])
def test_beyond_capacity_the_capacity_is_used_and_refusals_come_at_once(load: float) -> None:
    tally = simulate(offers(load))
    assert tally.goodput() >= 0.97 * CURVE.capacity
    assert tally.late <= 0.002 * tally.offered
    assert tally.dropped <= 0.1 * tally.refused


@pytest.mark.slow
@pytest.mark.parametrize("endpoint_count", [1, 8, 64])
def test_goodput_is_near_what_foresight_could_do(endpoint_count: int) -> None:
    arrivals = list(poisson(1.2 * CURVE.capacity * endpoint_count, 60.0 / endpoint_count + 3.0, ONE))
    assert simulate(arrivals, endpoint_count).in_time >= 0.95 * clairvoyant(arrivals, endpoint_count, CURVE).in_time


@pytest.mark.slow
@pytest.mark.parametrize("load", [1.5, 2.0])
def test_no_class_of_deadlines_starves(load: float) -> None:
    tally = simulate(offers(load, 60.0, MIXED))
    assert tally.goodput() >= 0.97 * CURVE.capacity
    for queue in ("tight", "loose"):
        assert tally.in_time_by[queue] / tally.offered_by[queue] >= 0.8 / load


@pytest.mark.slow
def test_bursts_are_served_nearly_as_well_as_with_foresight() -> None:
    arrivals = list(on_off(4 * CURVE.capacity, 1.0, 3.0, 80.0, ONE))
    assert simulate(arrivals).in_time >= 0.92 * clairvoyant(arrivals, 1, CURVE).in_time


@pytest.mark.slow
def test_a_tenant_within_its_share_does_not_notice_one_far_beyond_it() -> None:
    modest = list(poisson(0.4 * CURVE.capacity, 40.0, (("tenant modest", 0.3),), seed=2))
    greedy = list(poisson(5.0 * CURVE.capacity, 40.0, (("tenant greedy", 0.3),), seed=3))
    alone = simulate(modest)
    both = simulate(list(heapq.merge(modest, greedy)))
    assert both.in_time_by["tenant modest"] >= 0.98 * alone.in_time_by["tenant modest"]
    assert both.goodput() >= 0.95 * CURVE.capacity


@pytest.mark.slow
def test_a_model_that_becomes_slower_costs_a_moment() -> None:
    class Slowing(World):
        def run(self, endpoint: int, rows: int, done: object) -> None:
            if self.now_s > 10.0:
                self.curve = Curve(base_s=0.040, row_s=0.010)
            super().run(endpoint, rows, done)  # type: ignore[arg-type]  # the base knows the type

    world = Slowing(1, CURVE)
    tally = world.simulate(Gateway(world), offers(1.2, 30.0))
    best = 10.0 * CURVE.capacity + 20.0 * CURVE.capacity / 2
    assert tally.in_time >= 0.95 * best


# A model of 100 ms takes six times as long from the tenth second to the twentieth: (endpoints, which of
# them are slow, which of those are quick again afterwards, the others staying slow).
SPELLS = [
    (1, {0}, {0}),
    (2, {0}, {0}),
    (2, {1}, {1}),
    (2, {0, 1}, {1}),
    (2, {0, 1}, {0}),
    (4, {0, 1, 2, 3}, {0, 1, 2, 3}),
]
FLAT = Curve(base_s=0.095, row_s=0.005, noise_share=0.02)
HURRIED = (("", 0.5),)
BOTH = (("hurried", 0.5), ("patient", 2.0))


@pytest.mark.slow
@pytest.mark.parametrize(("endpoint_count", "slow", "back"), SPELLS)
@pytest.mark.parametrize("deadlines", [HURRIED, BOTH])
@pytest.mark.parametrize("rate", [2.0, 150.0])  # per endpoint that is quick in the end; capacity is 59
def test_three_seconds_after_a_slow_spell_everything_is_as_it_was(
    endpoint_count: int, slow: set[int], back: set[int], deadlines: tuple[tuple[str, float], ...], rate: float
) -> None:
    def pace(endpoint: int, time_s: float) -> float:
        over = time_s >= 20.0 and endpoint in back
        return 6.0 if endpoint in slow and time_s >= 10.0 and not over else 1.0

    quick_count = endpoint_count - len(slow - back)
    arrivals = list(poisson(rate * quick_count, 40.0, deadlines))
    world, undisturbed = World(endpoint_count, FLAT, pace=pace), World(quick_count, FLAT)
    tallies = [each.simulate(Gateway(each), arrivals) for each in (world, undisturbed)]
    after, before = ([at_s for at_s in tally.came_in_time_s if at_s >= 23.0] for tally in tallies)
    assert len(after) >= 0.95 * len(before)


@pytest.mark.slow
def test_one_slow_endpoint_of_two_takes_nothing_from_what_the_other_can_do() -> None:
    arrivals = list(poisson(100.0, 40.0, HURRIED))
    world, alone = World(2, FLAT, pace=lambda endpoint, _: 6.0 if endpoint == 0 else 1.0), World(1, FLAT)
    tallies = [each.simulate(Gateway(each), arrivals) for each in (world, alone)]
    assert tallies[0].in_time >= 0.97 * tallies[1].in_time


@pytest.mark.slow
def test_a_hung_endpoint_costs_the_batches_it_holds_and_no_more() -> None:
    arrivals = list(poisson(0.6 * 3 * CURVE.capacity, 30.0, ONE))
    world = World(3, CURVE)
    tally = world.simulate(Gateway(world, hangs_at_s=10.0), arrivals)
    # Two slots of eight at the most, and nobody else's deadline in the second before it is found.
    assert tally.offered - tally.in_time <= 16 + 0.01 * tally.offered


@pytest.mark.slow
def test_full_batches_are_found_without_a_batching_delay() -> None:
    quiet, busy = simulate(offers(0.1)), simulate(offers(1.5))
    assert quiet.offered / quiet.batches < 1.5
    assert busy.in_time / busy.batches > 7.8


@pytest.mark.slow
def test_a_second_slot_filled_at_once_would_make_small_batches() -> None:
    arrivals = offers(0.9)
    world = World(1, CURVE)
    eager = world.simulate(Gateway(world, BatchingSettings(prefetch_lead_s=9.0, prefetch_lead_share=1.0)), arrivals)
    assert simulate(arrivals).batches < eager.batches
