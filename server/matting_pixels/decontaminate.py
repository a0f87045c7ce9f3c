# SPDX-License-Identifier: Apache-2.0
"""Foreground colours without the background that shines through the soft edge: blur fusion.

Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021: foreground and background colours are blurred,
weighted by alpha, and corrected by what they fail to explain of the pixel; once with a wide blur, for colours
from afar, once with a narrow one, for detail. Here the wide blur, which has no detail to lose, is taken of a
small copy of the photo, and the rest is done in tiles, and only in those that hold a part of the soft edge.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from matting_pixels.arrays import Floats, Pixels
from matting_pixels.subject import Region, cut

_SMALL_SIDE_PX = 512
# A sixteenth of the longer side, as 90 pixels are in the paper's photos.
_WIDE_PX = 32
_NARROW_PX = 7
_HALO_PX = _NARROW_PX // 2
_TILE_PX = 256
_STRIP_ROWS = 4
_TINY = np.float32(1e-5)


class _Tile(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def decontaminate(color: Pixels, alpha: Pixels, region: Region | None = None) -> Pixels:
    """Estimate the subject's own colour where alpha is neither 0 nor 255.

    Args:
        color: The photo [H, W, 3], uint8 or uint16.
        alpha: Its alpha uint8 [H, W].
        region: The part of the photo that is wanted; all of it if None.

    Returns:
        The region's colour, changed at the soft edge only; a view of `color` where there is no soft edge.
    """
    if region is None:
        region = Region(0, 0, color.shape[1], color.shape[0])
    tiles = list(_soft_tiles(alpha, region))
    if not tiles:
        return cut(color, region)
    front, behind = _far_colors(color, alpha)
    out = cut(color, region).copy()
    for tile in tiles:
        _clean_tile(out, color, alpha, front, behind, tile, region)
    return out


def _soft_tiles(alpha: Pixels, region: Region) -> Iterator[_Tile]:
    """Yield the tiles of a region that hold soft pixels."""
    bottom, right = region.top_px + region.height_px, region.left_px + region.width_px
    for top in range(region.top_px, bottom, _TILE_PX):
        for left in range(region.left_px, right, _TILE_PX):
            tile = _Tile(left, top, min(right, left + _TILE_PX), min(bottom, top + _TILE_PX))
            # Uint8 wraps: 255 becomes 0, 0 becomes 1, and everything soft is 2 or more.
            if ((alpha[tile.top : tile.bottom, tile.left : tile.right] + np.uint8(1)) > 1).any():
                yield tile


def _far_colors(color: Pixels, alpha: Pixels) -> tuple[Floats, Floats]:
    """The wide pass: blurred foreground and background colours, 0 to 1, of a small copy of the photo."""
    height, width = alpha.shape
    by = -(-max(height, width) // _SMALL_SIDE_PX)
    small_width = -(-width // by)
    fronts, behinds, weights = [], [], []
    # Weighted before it is made small: afterwards, thin hair and what is behind it are one colour.
    for top in range(0, height, by * _STRIP_ROWS):
        rows = slice(top, min(height, top + by * _STRIP_ROWS))
        size = (small_width, -(-(rows.stop - top) // by))
        image, weight = _to_unit(color[rows]), _to_unit(alpha[rows])
        front = cv2.resize(image * weight[..., None], size, interpolation=cv2.INTER_AREA)
        fronts.append(front)
        behinds.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA) - front)
        weights.append(cv2.resize(weight, size, interpolation=cv2.INTER_AREA))
    weight = np.concatenate(weights)[..., None]
    front = _average(np.concatenate(fronts), weight, _WIDE_PX)
    return front, _average(np.concatenate(behinds), 1 - weight, _WIDE_PX)


def _clean_tile(
    out: Pixels, color: Pixels, alpha: Pixels, front: Floats, behind: Floats, tile: _Tile, region: Region
) -> None:
    """Write a tile of the photo into `out`, which is the region."""
    height, width = alpha.shape
    wide = _Tile(
        max(0, tile.left - _HALO_PX),
        max(0, tile.top - _HALO_PX),
        min(width, tile.right + _HALO_PX),
        min(height, tile.bottom + _HALO_PX),
    )
    window = (slice(wide.top, wide.bottom), slice(wide.left, wide.right))
    image, weight = _to_unit(color[window]), _to_unit(alpha[window])[..., None]
    far_behind = _enlarge(behind, wide, width, height)
    detailed = _correct(image, weight, _enlarge(front, wide, width, height), far_behind)
    near_front, near_behind = (
        _average(detailed * weight, weight, _NARROW_PX),
        _average(far_behind * (1 - weight), 1 - weight, _NARROW_PX),
    )
    estimate = _correct(image, weight, near_front, near_behind)
    inner = (
        slice(tile.top - wide.top, tile.bottom - wide.top),
        slice(tile.left - wide.left, tile.right - wide.left),
    )
    target = cut(
        out,
        Region(tile.left - region.left_px, tile.top - region.top_px, tile.right - tile.left, tile.bottom - tile.top),
    )
    soft = (alpha[window][inner] + np.uint8(1)) > 1
    target[soft] = np.rint(estimate[inner][soft] * np.iinfo(color.dtype).max).astype(color.dtype)


def _average(weighted: Floats, weight: Floats, size_px: int) -> Floats:
    """Average weighted values [h, w, 3] over a window, each pixel counting as much as its weight [h, w, 1]."""
    size = (size_px, size_px)
    averaged: Floats = cv2.blur(weighted, size) / (cv2.blur(weight, size)[..., None] + _TINY)
    return averaged


def _correct(image: Floats, weight: Floats, front: Floats, behind: Floats) -> Floats:
    """Add to the blurred foreground what it and the background fail to explain of the pixel."""
    corrected: Floats = front + weight * (image - weight * front - (1 - weight) * behind)
    return corrected.clip(0, 1)


def _enlarge(small: Floats, tile: _Tile, width: int, height: int) -> Floats:
    """Return a tile of a small picture [h, w, 3] seen at the size of the photo."""
    across, down = small.shape[1] / width, small.shape[0] / height
    mapping = np.array(
        [[across, 0, (tile.left + 0.5) * across - 0.5], [0, down, (tile.top + 0.5) * down - 0.5]], np.float64
    )
    size = (tile.right - tile.left, tile.bottom - tile.top)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(small, mapping, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _to_unit(pixels: Pixels) -> Floats:
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
