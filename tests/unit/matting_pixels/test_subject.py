# SPDX-License-Identifier: Apache-2.0
"""Finding the subject, and saying when there is none."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_pixels.subject import Region, decidedness, edge_sharpness, find_subject, scale_region, widen


def matte(*boxes: tuple[int, int, int, int], side: int = 100, value: int = 255) -> np.ndarray:
    alpha = np.zeros((side, side), np.uint8)
    for left, top, width, height in boxes:
        alpha[top : top + height, left : left + width] = value
    return alpha


def test_the_box_is_the_subject_and_nothing_more() -> None:
    finding = find_subject(matte((20, 30, 40, 50)))
    assert finding.box == Region(20, 30, 40, 50)
    assert finding.area_share == pytest.approx(0.2)


def test_the_box_holds_the_soft_edge_but_no_faint_island_elsewhere() -> None:
    alpha = matte((20, 30, 40, 50))
    alpha[40, 60:66] = 30
    alpha[5, 5] = 60
    assert find_subject(alpha).box == Region(20, 30, 46, 50)


def test_two_subjects_share_a_box() -> None:
    assert find_subject(matte((0, 0, 10, 10), (80, 90, 10, 10))).box == Region(0, 0, 90, 100)


@pytest.mark.parametrize("value", [0, 1, 100])
def test_a_flat_alpha_has_no_subject(value: int) -> None:
    finding = find_subject(np.full((32, 32), value, np.uint8))
    assert (finding.box, finding.area_share) == (None, 0.0)


def test_a_whole_photo_can_be_subject() -> None:
    assert find_subject(np.full((32, 16), 255, np.uint8)).box == Region(0, 0, 16, 32)


def test_noise_stretched_to_the_full_range_is_no_subject() -> None:
    rng = np.random.default_rng(3)
    haze = cv2.GaussianBlur(rng.normal(0, 1, (320, 320)).astype(np.float32), (0, 0), 6)
    haze = (haze - haze.min()) / (haze.max() - haze.min())
    finding = find_subject((haze * 255).astype(np.uint8))
    assert finding.box is None


def cone(radius_px: int) -> np.ndarray:
    """Return an alpha that fades from its middle on, decided by a half."""
    rows, columns = np.mgrid[:320, :320]
    distances_px: np.ndarray = np.hypot(rows - 160, columns - 160)
    return np.clip(255 - 255 * distances_px / radius_px, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("alpha", "found"),
    [
        (matte((100, 100, 60, 60), side=320, value=140), True),
        (cone(100), False),
        (matte((100, 100, 12, 12), side=320, value=140), False),
    ],
    ids=["subject", "haze", "speck"],
)
def test_what_a_model_is_unsure_of_is_a_subject_if_it_has_a_core_and_an_edge(alpha: np.ndarray, found: bool) -> None:
    assert 0.45 < decidedness(alpha) < 0.6
    assert (find_subject(alpha).box is not None) is found


def test_sharpness_is_the_change_of_alpha_over_a_320th_of_the_side() -> None:
    steps = np.clip(np.arange(-160, 160) * 20 + 128, 0, 255).astype(np.uint8)
    alpha = np.tile(steps, (320, 1))
    assert edge_sharpness(alpha, alpha >= 128) == pytest.approx(20 / 255, rel=0.1)
    large = cv2.resize(alpha, (640, 640), interpolation=cv2.INTER_LINEAR)
    assert edge_sharpness(large, large >= 128) == pytest.approx(20 / 255, rel=0.1)
    assert edge_sharpness(np.full((9, 9), 255, np.uint8), np.ones((9, 9), bool)) == 0.0


def test_decidedness_is_the_mean_of_alpha_weighted_by_itself() -> None:
    alpha = np.array([[0, 51, 255]], np.uint8)
    assert decidedness(alpha) == pytest.approx((0.2**2 + 1) / 1.2)


@pytest.mark.slow
@given(st.data())
def test_a_scaled_box_covers_what_it_covered(data: st.DataObject) -> None:
    sides = st.integers(1, 400)
    grid_width, grid_height, width, height = (data.draw(sides) for _ in range(4))
    left = data.draw(st.integers(0, grid_width - 1))
    top = data.draw(st.integers(0, grid_height - 1))
    box = Region(left, top, data.draw(st.integers(1, grid_width - left)), data.draw(st.integers(1, grid_height - top)))
    scaled = scale_region(box, grid_width, grid_height, width, height)
    assert scaled.left_px <= box.left_px * width / grid_width
    assert scaled.left_px + scaled.width_px >= (box.left_px + box.width_px) * width / grid_width
    assert 0 <= scaled.left_px < scaled.left_px + scaled.width_px <= width
    assert 0 <= scaled.top_px < scaled.top_px + scaled.height_px <= height
    wide = widen(scaled, data.draw(st.floats(0, 1)), width, height)
    assert 0 <= wide.left_px <= scaled.left_px
    assert wide.left_px + wide.width_px <= width
    assert wide.top_px + wide.height_px <= height
