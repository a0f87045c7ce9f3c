# SPDX-License-Identifier: Apache-2.0
"""What steps of photos take a worker is learned by kind and size, and no slow minute is believed for good."""

import pytest
from matting_gateway.domain.photo import OutputKind, OutputSpec
from matting_gateway.imaging.dispatch.step_costs import StepCosts, StepKind, render_kind
from matting_gateway.imaging.photo_job import Step

DECODE = StepKind(Step.DECODE, "JPEG")
ALPHA, CUTOUT = render_kind((OutputSpec(),)), render_kind((OutputSpec(kind=OutputKind.CUTOUT),))


def learned(costs: StepCosts, kind: StepKind, pixel_count: int, seconds: float, count: int, now_s: float) -> None:
    for _ in range(count):
        costs.note(kind, pixel_count, seconds, now_s)


def test_nothing_is_expected_of_what_was_never_seen() -> None:
    assert StepCosts().expected_s(DECODE, 1_000_000, 0.0) == 0.0


def test_a_larger_photo_is_expected_to_take_longer() -> None:
    costs = StepCosts()
    learned(costs, CUTOUT, 1_000_000, 0.03, 50, 0.0)
    assert costs.expected_s(CUTOUT, 1_000_000, 0.0) == pytest.approx(0.03)
    assert 0.2 < costs.expected_s(CUTOUT, 12_000_000, 0.0) < 0.36


def test_kinds_are_told_apart_and_a_new_one_is_taken_for_the_others() -> None:
    costs = StepCosts()
    learned(costs, ALPHA, 1_000_000, 0.01, 50, 0.0)
    assert costs.expected_s(CUTOUT, 1_000_000, 0.0) == pytest.approx(0.01)
    learned(costs, CUTOUT, 1_000_000, 0.1, 50, 0.0)
    assert costs.expected_s(ALPHA, 1_000_000, 0.0) == pytest.approx(0.01)
    assert costs.expected_s(CUTOUT, 1_000_000, 0.0) == pytest.approx(0.1)
    assert costs.expected_s(DECODE, 1_000_000, 0.0) == 0.0


def test_one_accident_is_no_change_and_a_dozen_alike_are() -> None:
    costs = StepCosts()
    learned(costs, ALPHA, 1_000_000, 0.01, 50, 0.0)
    costs.note(ALPHA, 1_000_000, 2.0, 0.0)
    assert costs.expected_s(ALPHA, 1_000_000, 0.0) < 0.013
    learned(costs, ALPHA, 1_000_000, 0.04, 12, 0.0)
    assert costs.expected_s(ALPHA, 1_000_000, 0.0) > 0.035


def test_what_was_slow_is_tried_again_within_seconds() -> None:
    costs = StepCosts()
    learned(costs, ALPHA, 1_000_000, 5.0, 50, 100.0)
    assert costs.expected_s(ALPHA, 1_000_000, 100.0) == pytest.approx(5.0)
    assert costs.expected_s(ALPHA, 1_000_000, 130.0) < 0.1


def test_asking_changes_nothing_and_kinds_without_end_are_not_all_remembered() -> None:
    costs = StepCosts()
    for number in range(5000):
        costs.expected_s(StepKind(Step.DECODE, number), 1, 0.0)
    assert repr(costs) == "<StepCosts of 0 kinds>"
    for number in range(5000):
        costs.note(StepKind(Step.DECODE, number), 1, 0.1, 0.0)
    assert repr(costs) == "<StepCosts of 256 kinds>"


def test_a_photo_takes_what_its_steps_take() -> None:
    costs = StepCosts()
    assert costs.photo_s == 0.0
    for seconds in (0.01, 0.03):
        costs.note(DECODE, 1_000_000, seconds, 0.0)
    costs.note(ALPHA, 1_000_000, 0.1, 0.0)
    assert costs.photo_s == pytest.approx(0.12)


def test_another_kind_of_photos_is_learned_within_some_dozens() -> None:
    costs = StepCosts()
    for _ in range(1000):
        costs.note(DECODE, 1_000_000, 0.01, 0.0)
    for _ in range(60):
        costs.note(DECODE, 1_000_000, 0.1, 0.0)
    assert costs.photo_s == pytest.approx(0.1, rel=0.1)
