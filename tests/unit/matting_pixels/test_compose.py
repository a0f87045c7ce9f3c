# SPDX-License-Identifier: Apache-2.0
"""Cutouts and composites against their definitions in floating point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matting_pixels.compose import (
    cutout,
    linear_to_srgb,
    multiply_alpha,
    over_color,
    over_picture,
    srgb_to_linear,
)

SHAPE = (9, 11)
COLORS = hnp.arrays(np.uint8, (*SHAPE, 3))
ALPHAS = hnp.arrays(np.uint8, SHAPE)


@pytest.mark.slow
@given(COLORS, ALPHAS)
def test_a_cutout_keeps_what_is_seen_and_blanks_what_is_not(color: np.ndarray, alpha: np.ndarray) -> None:
    for deep in (False, True):
        front, cover = (color.astype(np.uint16) * 257, alpha.astype(np.uint16) * 257) if deep else (color, alpha)
        result = cutout(front, cover)
        assert (result[..., 3] == cover).all()
        assert (result[..., :3][cover > 0] == front[cover > 0]).all()
        assert (result[..., :3][cover == 0] == 0).all()


@pytest.mark.slow
@given(COLORS, ALPHAS, st.tuples(*[st.integers(0, 255)] * 3))
def test_over_a_colour_is_the_weighted_mean(color: np.ndarray, alpha: np.ndarray, behind: tuple[int, int, int]) -> None:
    weight = alpha[..., None] / 255
    expected = color * weight + np.array(behind) * (1 - weight)
    assert np.abs(over_color(color, alpha, behind) - expected).max() <= 0.51


@pytest.mark.slow
@given(COLORS, ALPHAS, COLORS)
def test_over_a_picture_in_linear_light_mixes_light(color: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> None:
    weight = alpha[..., None].astype(np.float32) / 255
    light = srgb_to_linear(color / np.float32(255)) * weight + srgb_to_linear(behind / np.float32(255)) * (1 - weight)
    result = over_picture(color, alpha, behind, linear_light=True)
    assert np.abs(result - linear_to_srgb(light) * 255).max() <= 0.6


def test_linear_light_is_brighter_than_srgb_in_between() -> None:
    white, half = np.full((2, 2, 3), 255, np.uint8), np.full((2, 2), 128, np.uint8)
    black = np.zeros((2, 2, 3), np.uint8)
    assert over_picture(white, half, black)[0, 0, 0] == 128
    assert over_picture(white, half, black, linear_light=True)[0, 0, 0] == pytest.approx(188, abs=1)


def test_srgb_and_light_undo_each_other() -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32)
    assert np.abs(linear_to_srgb(srgb_to_linear(values)) - values).max() < 1e-4


@pytest.mark.slow
@given(ALPHAS, ALPHAS)
def test_alphas_multiply(one: np.ndarray, other: np.ndarray) -> None:
    assert np.abs(multiply_alpha(one, other) - one * (other / 255.0)).max() <= 0.51
