# SPDX-License-Identifier: Apache-2.0
"""How long a photo keeps a worker busy is learned of those that were done."""

import pytest
from matting_gateway.imaging.dispatch.step_times import StepTimes
from matting_gateway.imaging.photo_job import Step


def test_a_photo_takes_what_its_steps_take() -> None:
    times = StepTimes()
    assert times.photo_s == 0.0
    for seconds in (0.01, 0.03):
        times.note(Step.DECODE, seconds)
    times.note(Step.RENDER, 0.1)
    assert times.photo_s == pytest.approx(0.12)


def test_another_kind_of_photos_is_learned_within_some_dozens() -> None:
    times = StepTimes()
    for _ in range(1000):
        times.note(Step.DECODE, 0.01)
    for _ in range(60):
        times.note(Step.DECODE, 0.1)
    assert times.photo_s == pytest.approx(0.1, rel=0.1)
