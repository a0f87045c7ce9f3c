# SPDX-License-Identifier: Apache-2.0
"""How a photo is laid into a model's input, and how the alpha comes back out of it."""

import cv2
import numpy as np

from matting_pixels.arrays import Pixels
from matting_pixels.placement import Placement

# From here on cubic interpolation, which looks at four pixels a side, would leave out some of those that it shrinks.
_MOST_CUBIC = 1.6


def into_grid(photo: Pixels, placement: Placement) -> Pixels:
    """Resize a photo uint8 [H, W, 3] into the grid; padding is black.

    Shrinks as `shrink` does, without aliasing, and grows by cubic interpolation.
    """
    fitted = shrink(photo, placement.width_px, placement.height_px)
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


def shrink(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """Resize uint8 or uint16 [H, W] or [H, W, C] for a model.

    Averages 2, 4 or more pixels a side into one and leaves what remains to cubic interpolation: that comes nearer to
    Lanczos than averaging over parts of pixels does, and takes a quarter of the time. Where so many do not fit into the
    sides, or what remains is more than cubic interpolation can do without aliasing, it is what `resize` does.
    """
    height, width = pixels.shape[:2]
    by = 1
    while not (width % (2 * by) or height % (2 * by)) and width >= 2 * by * width_px and height >= 2 * by * height_px:
        by *= 2
    averaged = (width // by, height // by)
    if by == 1 or max(averaged[0] / width_px, averaged[1] / height_px) > _MOST_CUBIC:
        return resize(pixels, width_px, height_px)
    small = cv2.resize(pixels, averaged, interpolation=cv2.INTER_AREA)
    if averaged == (width_px, height_px):
        return small
    return cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)


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
