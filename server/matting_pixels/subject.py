# SPDX-License-Identifier: Apache-2.0
"""Where the subject is in an alpha, and whether there is one.

Models whose output is stretched to the full range (min-max) turn the noise that they see in an empty photo into a
matte. What tells the two apart is how decided a matte is: the mean of alpha, weighted by alpha itself. Where a
model sees a subject nearly all of the matte's mass is close to 1; stretched noise is a haze with a few peaks. Between
clear subjects and clear haze the edge decides: what a model is unsure of still has an edge if it is there, while haze
fades. The imaging room's README has the figures.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from matting_pixels.arrays import Pixels

# A pixel is subject from a half on, and soft edge from a twentieth on.
_CORE, _SOFT = 128, 13
_CLEARLY_DECIDED, _LEAST_DECIDED = 0.6, 0.45
# A matte between the two is a subject if it has a core worth the name, with an edge: as a share of the photo, and as
# the change of alpha over a 320th of the longer side.
_LEAST_CORE_SHARE, _LEAST_SHARPNESS = 0.01, 0.07


@dataclass(frozen=True, slots=True)
class Region:
    """A box of whole pixels."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What an alpha shows. `box` is None and `area_share` 0 exactly if no subject was found."""

    box: Region | None
    area_share: float


def find_subject(alpha: Pixels) -> Finding:
    """Find the subject in an alpha uint8 [H, W].

    The box holds every soft pixel that touches the subject's core; faint islands elsewhere do not widen it.
    `area_share` is the share of core pixels, 0 to 1.
    """
    core = alpha >= _CORE
    area_share = float(np.count_nonzero(core)) / core.size
    if area_share == 0 or not _is_subject(alpha, core, area_share):
        return Finding(None, 0.0)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats((alpha >= _SOFT).view(np.uint8), connectivity=8)
    touched = np.zeros(len(boxes), bool)
    # Where there is but one patch beside what is clear, the core is in it.
    touched[1 if len(boxes) == 2 else labels[core]] = True
    left, top, width, height = boxes[touched, : cv2.CC_STAT_AREA].T
    right, bottom = int((left + width).max()), int((top + height).max())
    return Finding(
        Region(int(left.min()), int(top.min()), right - int(left.min()), bottom - int(top.min())), area_share
    )


def _is_subject(alpha: Pixels, core: Pixels, area_share: float) -> bool:
    decided = decidedness(alpha)
    if decided >= _CLEARLY_DECIDED or decided < _LEAST_DECIDED:
        return decided >= _CLEARLY_DECIDED
    return area_share >= _LEAST_CORE_SHARE and edge_sharpness(alpha, core) >= _LEAST_SHARPNESS


def edge_sharpness(alpha: Pixels, core: Pixels) -> float:
    """Return how steep an alpha uint8 [H, W] is at the border of its core, a mask bool [H, W].

    The mean change of alpha, 0 to 1, over a 320th of the longer side; 0 of a core that has no border.
    """
    border = cv2.morphologyEx(core.view(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    if not border.any():
        return 0.0
    scale = max(alpha.shape) / 320 / (8 * 255)
    across = cv2.Sobel(alpha, cv2.CV_32F, 1, 0, scale=scale)
    down = cv2.Sobel(alpha, cv2.CV_32F, 0, 1, scale=scale)
    return float(np.hypot(across, down)[border].mean())


def decidedness(alpha: Pixels) -> float:
    """Return the mean of an alpha uint8 [H, W], weighted by itself: 0 to 1, and 0 of an alpha without any mass."""
    counts = cv2.calcHist([alpha], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    values = np.arange(256) / 255.0
    mass = float(counts @ values)
    return float(counts @ values**2) / mass if mass else 0.0


def scale_region(region: Region, from_width_px: int, from_height_px: int, width_px: int, height_px: int) -> Region:
    """Bring a box from one grid to another, rounding outwards."""
    left = region.left_px * width_px // from_width_px
    top = region.top_px * height_px // from_height_px
    right = -(-(region.left_px + region.width_px) * width_px // from_width_px)
    bottom = -(-(region.top_px + region.height_px) * height_px // from_height_px)
    return Region(left, top, max(1, right - left), max(1, bottom - top))


def widen(region: Region, margin_share: float, width_px: int, height_px: int) -> Region:
    """Add a margin, a share of the box's longer side, on all four sides; never beyond the photo."""
    margin = round(margin_share * max(region.width_px, region.height_px))
    left, top = max(0, region.left_px - margin), max(0, region.top_px - margin)
    right = min(width_px, region.left_px + region.width_px + margin)
    bottom = min(height_px, region.top_px + region.height_px + margin)
    return Region(left, top, right - left, bottom - top)


def cut(pixels: Pixels, region: Region) -> Pixels:
    """Return the part of [H, W] or [H, W, C] inside a box, as a view."""
    return pixels[region.top_px : region.top_px + region.height_px, region.left_px : region.left_px + region.width_px]
