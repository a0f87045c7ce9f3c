# SPDX-License-Identifier: Apache-2.0
"""Into a model's grid and out of it again."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_pixels.fit import into_grid, out_of_grid, resize, shrink
from matting_pixels.placement import Placement, keep_aspect, letterbox, stretch
from PIL import Image

SIDES = st.integers(1, 5000)


@given(SIDES, SIDES, st.integers(1, 1024), st.integers(1, 1024))
def test_a_letterbox_keeps_the_aspect_and_is_centred(
    width: int, height: int, grid_width: int, grid_height: int
) -> None:
    placed = letterbox(width, height, grid_width, grid_height)
    assert placed.width_px == grid_width or placed.height_px == grid_height
    assert 1 <= placed.width_px <= grid_width
    assert 1 <= placed.height_px <= grid_height
    scale = min(grid_width / width, grid_height / height)
    assert abs(placed.width_px - max(1.0, width * scale)) <= 0.5
    assert abs(placed.height_px - max(1.0, height * scale)) <= 0.5
    assert placed.left_px == (grid_width - placed.width_px) // 2
    assert placed.top_px == (grid_height - placed.height_px) // 2


@given(SIDES, SIDES)
def test_a_letterbox_into_the_corner_is_the_same_but_for_its_place(width: int, height: int) -> None:
    centred, placed = letterbox(width, height, 448, 448), letterbox(width, height, 448, 448, top_left=True)
    assert (placed.left_px, placed.top_px) == (0, 0)
    assert (placed.width_px, placed.height_px) == (centred.width_px, centred.height_px)


@given(SIDES, SIDES, st.integers(16, 512), st.sampled_from([1, 8, 14, 32]))
def test_a_kept_aspect_is_a_multiple_and_bounded(width: int, height: int, short: int, multiple: int) -> None:
    placed = keep_aspect(width, height, short, multiple)
    assert placed.fills_grid
    for side in (placed.grid_width_px, placed.grid_height_px):
        assert side % multiple == 0
        assert multiple <= side <= 8 * short + multiple
    smaller = placed.grid_width_px if width <= height else placed.grid_height_px
    assert abs(smaller - short) <= max(multiple / 2, multiple - short)


@pytest.mark.parametrize("size", [(64, 64), (640, 64), (64, 640), (33, 77), (1, 1), (500, 3)])
def test_the_way_out_undoes_the_way_in(size: tuple[int, int]) -> None:
    width, height = size
    placed = letterbox(width, height, 64, 48)
    columns = np.linspace(0, 255, width)[None, :, None]
    photo = np.broadcast_to(columns, (height, width, 3)).astype(np.uint8)
    grid = into_grid(photo, placed)
    assert grid.shape == (48, 64, 3)
    back = resize(np.ascontiguousarray(out_of_grid(grid[..., 0], placed)), width, height)
    inner = out_of_grid(grid[..., 0], placed)
    assert inner.shape == (placed.height_px, placed.width_px)
    assert np.abs(back.astype(int) - photo[..., 0]).mean() < 255 / min(placed.width_px * 2, width + 1) + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [(800, 800), (1000, 750), (1600, 1600), (2000, 1000), (801, 800), (320, 2000), (100, 90)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_a_model_sees_is_no_further_from_lanczos_than_averages_are(size: tuple[int, int], dtype: type) -> None:
    noise = np.random.default_rng(5).integers(0, 255, (size[1], size[0], 3), np.uint8)
    photo = cv2.GaussianBlur(noise, (0, 0), max(size) / 320)
    lanczos = np.asarray(Image.fromarray(photo).resize((320, 320), Image.Resampling.LANCZOS)).astype(float)
    scale = np.iinfo(dtype).max // 255
    seen = shrink(photo.astype(dtype) * dtype(scale), 320, 320)
    assert seen.dtype == dtype
    assert seen.shape == (320, 320, 3)

    def off(pixels: np.ndarray) -> float:
        return float(np.abs(pixels.astype(float) - lanczos).mean())

    assert off(seen / scale) <= off(resize(photo, 320, 320)) + 0.3


def test_padding_is_black_and_only_where_the_photo_is_not() -> None:
    placed = letterbox(100, 50, 32, 32)
    grid = into_grid(np.full((50, 100, 3), 200, np.uint8), placed)
    inside = np.zeros((32, 32), bool)
    out_of_grid(inside, placed)[:] = True
    assert (grid[inside] == 200).all()
    assert (grid[~inside] == 0).all()


def test_a_mark_in_the_grid_is_where_it_was_in_the_photo() -> None:
    photo = np.zeros((300, 600, 3), np.uint8)
    photo[150:170, 400:420] = 255
    placed = letterbox(600, 300, 100, 100)
    back = resize(np.ascontiguousarray(out_of_grid(into_grid(photo, placed)[..., 0], placed)), 600, 300)
    rows, columns = np.nonzero(back > 128)
    assert abs(rows.mean() - 159.5) < 1.5
    assert abs(columns.mean() - 409.5) < 1.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("to", [(7, 5), (200, 5), (7, 200), (200, 300), (64, 48)])
def test_a_resized_constant_stays_one(to: tuple[int, int], dtype: type[np.uint8 | np.uint16]) -> None:
    pixels = np.full((48, 64, 3), 201, dtype)
    assert (resize(pixels, *to) == 201).all()
    assert resize(pixels, *to).shape == (to[1], to[0], 3)


def test_stretching_fills_the_grid() -> None:
    assert stretch(3, 4) == Placement(3, 4, 0, 0, 3, 4)
