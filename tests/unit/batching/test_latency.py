# SPDX-License-Identifier: Apache-2.0
"""What is learned of a model's latency, and what must not spoil it."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.batching.latency.latency_model import LatencyTable


def taught(count: int = 100, seed: int = 1) -> LatencyTable:
    draw = random.Random(seed)
    table = LatencyTable(8)
    for _ in range(count):
        rows = draw.randint(1, 8)
        table.observe(rows, (0.020 + 0.005 * rows) * draw.gauss(1.0, 0.02))
    return table


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 16), st.floats(1e-6, 100.0)), min_size=1, max_size=60))
def test_more_rows_never_seem_quicker(observations: list[tuple[int, float]]) -> None:
    table = LatencyTable(16)
    for rows, seconds in observations:
        table.observe(rows, seconds)
    assert all(table.predict(a) <= table.predict(b) * (1 + 1e-9) for a, b in pairwise(range(1, 17)))
    assert all(table.predict_high(rows) >= table.predict(rows) > 0 for rows in range(1, 17))
    assert 1 <= table.preferred_rows <= 16


def test_nothing_is_known_before_the_first_answer() -> None:
    table = LatencyTable(8)
    assert not table.warm
    assert table.predict(8) == 0.0
    assert table.preferred_rows == 8


def test_a_curve_is_learned() -> None:
    table = taught()
    assert table.warm
    assert [table.predict(n) for n in range(1, 9)] == pytest.approx([0.02 + 0.005 * n for n in range(1, 9)], rel=0.08)
    assert table.preferred_rows == 8
    assert 0.02 <= table.margin_share < 0.15


def test_sizes_not_seen_lie_on_the_line() -> None:
    table = LatencyTable(8)
    for rows in (1, 4) * 20:
        table.observe(rows, 0.020 + 0.005 * rows)
    assert table.predict(8) == pytest.approx(0.060, rel=0.1)


def test_a_slow_first_batch_is_forgotten() -> None:
    table = LatencyTable(8)
    table.observe(1, 30.0)
    table.observe(1, 0.025)
    table.observe(2, 0.030)
    assert table.predict(1) < 0.03


@pytest.mark.parametrize("accident_s", [0.5, 5.0])
def test_an_accident_moves_the_margin_and_not_the_table(accident_s: float) -> None:
    table = taught()
    before, margin_before = table.predict(8), table.margin_share
    table.observe(8, accident_s)
    assert table.predict(8) == pytest.approx(before)
    assert table.margin_share > margin_before


@pytest.mark.parametrize("factor", [2.0, 0.4])
def test_a_change_is_followed_within_a_few_batches(factor: float) -> None:
    table = taught()
    before = [table.predict(rows) for rows in range(1, 9)]
    for _ in range(6):
        table.observe(8, 0.060 * factor)
    # At every size: a machine that got slower is slower at all of them.
    assert [table.predict(rows) for rows in range(1, 9)] == pytest.approx([factor * s for s in before], rel=0.15)


def test_a_model_that_gains_nothing_from_batches_gets_middling_ones() -> None:
    table = LatencyTable(8)
    for _ in range(10):
        for rows in range(1, 9):
            table.observe(rows, 0.6 * rows)
    assert table.preferred_rows == 4


def test_accidents_do_not_keep_from_full_batches() -> None:
    draw = random.Random(5)
    table = taught()
    full = 0
    for _ in range(500):
        rows = table.preferred_rows
        full += rows == 8
        accident = draw.uniform(1.0, 3.0) if draw.random() < 0.05 else 1.0
        table.observe(rows, (0.020 + 0.005 * rows) * draw.gauss(1.0, 0.03) * accident)
    assert full > 480


def test_a_new_endpoint_starts_from_what_the_others_taught() -> None:
    known = taught()
    table = LatencyTable(4, known)
    assert table.predict(4) == known.predict(4)
    assert not table.warm
    assert "seen" in repr(table)
