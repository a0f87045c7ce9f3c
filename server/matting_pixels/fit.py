# SPDX-License-Identifier: Apache-2.0
"""How a photo is laid into a model's input, and how the alpha comes back out of it."""

from dataclasses import dataclass

import cv2
import numpy as np

from matting_pixels.arrays import Pixels


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the photo lies in a model's grid of `grid_width_px` by `grid_height_px`; the rest is padding."""

    grid_width_px: int
    grid_height_px: int
    left_px: int
    top_px: int
    width_px: int
    height_px: int

    @property
    def fills_grid(self) -> bool:
        return (self.width_px, self.height_px) == (self.grid_width_px, self.grid_height_px)


def stretch(grid_width_px: int, grid_height_px: int) -> Placement:
    """Fill the grid, each side on its own."""
    return Placement(grid_width_px, grid_height_px, 0, 0, grid_width_px, grid_height_px)


def letterbox(
    photo_width_px: int, photo_height_px: int, grid_width_px: int, grid_height_px: int, *, top_left: bool = False
) -> Placement:
    """Fit inside the grid with the aspect kept, in the middle or in the top left corner."""
    scale = min(grid_width_px / photo_width_px, grid_height_px / photo_height_px)
    width = min(grid_width_px, max(1, round(photo_width_px * scale)))
    height = min(grid_height_px, max(1, round(photo_height_px * scale)))
    left, top = (0, 0) if top_left else ((grid_width_px - width) // 2, (grid_height_px - height) // 2)
    return Placement(grid_width_px, grid_height_px, left, top, width, height)


def keep_aspect(photo_width_px: int, photo_height_px: int, short_side_px: int, multiple_px: int) -> Placement:
    """Make the shorter side `short_side_px` and both sides a multiple of `multiple_px`; the grid is as large as that.

    The longer side is at most eight times the shorter, so that a strip of a photo cannot ask for an endless input.
    """
    scale = short_side_px / min(photo_width_px, photo_height_px)

    def side(photo_px: int) -> int:
        wanted = min(photo_px * scale, 8.0 * short_side_px)
        return max(1, round(wanted / multiple_px)) * multiple_px

    return stretch(side(photo_width_px), side(photo_height_px))


def into_grid(photo: Pixels, placement: Placement) -> Pixels:
    """Resize a photo uint8 [H, W, 3] into the grid; padding is black.

    Shrinks by area averaging, which does not alias, and grows by cubic interpolation.
    """
    fitted = resize(photo, placement.width_px, placement.height_px)
    if placement.fills_grid:
        return fitted
    grid = np.zeros((placement.grid_height_px, placement.grid_width_px, 3), np.uint8)
    grid[
        placement.top_px : placement.top_px + placement.height_px,
        placement.left_px : placement.left_px + placement.width_px,
    ] = fitted
    return grid


def out_of_grid(alpha: Pixels, placement: Placement) -> Pixels:
    """Return the part of a grid-sized alpha uint8 [H, W] that is photo, as a view."""
    return alpha[
        placement.top_px : placement.top_px + placement.height_px,
        placement.left_px : placement.left_px + placement.width_px,
    ]


def resize(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """Resize uint8 or uint16 [H, W] or [H, W, C]: area averaging down, cubic up."""
    height, width = pixels.shape[:2]
    if (width, height) == (width_px, height_px):
        return pixels
    if width_px <= width and height_px <= height:
        method = cv2.INTER_AREA
    elif width_px >= width and height_px >= height:
        method = cv2.INTER_CUBIC
    else:
        # One side shrinks and the other grows: each by its own method.
        narrow = resize(pixels, min(width, width_px), min(height, height_px))
        return resize(narrow, width_px, height_px)
    return cv2.resize(pixels, (width_px, height_px), interpolation=method)


def capped_size(width_px: int, height_px: int, max_side_px: int) -> tuple[int, int]:
    """Return the size scaled down so that neither side is longer than `max_side_px` (0: as it is), never up."""
    longest = max(width_px, height_px)
    if max_side_px == 0 or longest <= max_side_px:
        return width_px, height_px
    scale = max_side_px / longest
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def fit_cover(picture: Pixels, width_px: int, height_px: int) -> Pixels:
    """Scale a picture [H, W, C] to cover the size, and cut off the excess evenly."""
    height, width = picture.shape[:2]
    scale = max(width_px / width, height_px / height)
    kept_width = max(1, min(width, round(width_px / scale)))
    kept_height = max(1, min(height, round(height_px / scale)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return resize(picture[top : top + kept_height, left : left + kept_width], width_px, height_px)


def fit_contain(picture: Pixels, width_px: int, height_px: int) -> Pixels:
    """Scale a picture [H, W, C] to fit inside the size, centred; the rest is black."""
    height, width = picture.shape[:2]
    scale = min(width_px / width, height_px / height)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    out = np.zeros((height_px, width_px, *picture.shape[2:]), picture.dtype)
    left, top = (width_px - inner_width) // 2, (height_px - inner_height) // 2
    out[top : top + inner_height, left : left + inner_width] = resize(picture, inner_width, inner_height)
    return out
