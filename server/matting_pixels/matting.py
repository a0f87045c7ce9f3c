# SPDX-License-Identifier: Apache-2.0
"""Alpha solved for at the edge: closed-form matting in a band around the model's own edge, then guided enlargement.

Outside the band the model is believed: all subject, or all background. Within it only the photo's colours count, and
what is around the band. The system is solved on a photo made so small that the unknown pixels are few: finer detail
comes back with the guided filter, which has the whole photo.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from matting_pixels.arrays import Floats, Pixels
from matting_pixels.closed_form import matting_system
from matting_pixels.conjugate_gradients import solve
from matting_pixels.refine import refine_guided

# The most pixels that are solved on, and the most of them that are unknown: what bounds time and memory.
MAX_WORK_PX = 500_000
MAX_UNKNOWN_PX = 8_000
# An alpha from here to there is the model's own doubt.
_SURE_BACKGROUND, _SURE_SUBJECT = 5, 250
_BAND_CELLS = 2
# Where there is more doubt than certainty nothing would hold the solution.
_MAX_UNKNOWN_SHARE = 0.5
_LEAST_SIDE_PX = 3
_GUIDE_RADIUS_PX = 1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RefinedAlpha:
    """An alpha uint8 [H, W], and whether it was solved for; if not, it is the guided filter's."""

    alpha: Pixels
    solved: bool


def _go_on() -> None:
    """Nobody is asked whether to go on."""


def refine_matting(photo: Pixels, alpha: Pixels, *, check: Callable[[], None] = _go_on) -> RefinedAlpha:
    """Bring an alpha uint8 [h, w] of a model's grid to the size of its photo uint8 [H, W, 3], solving for the edge.

    Falls back to `refine_guided` where there is no edge, more doubt than certainty, or no solution in bounded steps.
    `check` is called between steps, and ends the work by raising.
    """
    unknown_cells = unknown_band(alpha)
    solved = _solve(photo, alpha, unknown_cells, check) if _can_be_solved(photo, unknown_cells) else None
    check()
    if solved is None:
        return RefinedAlpha(refine_guided(photo, alpha), solved=False)
    return RefinedAlpha(refine_guided(photo, solved, radius_px=_GUIDE_RADIUS_PX), solved=True)


def unknown_band(alpha: Pixels) -> Pixels:
    """Return where an alpha uint8 [h, w] of a model's grid is not believed, bool [h, w].

    Two cells to either side of its edge, and of all that the model itself is unsure of.
    """
    unsure = (alpha > _SURE_BACKGROUND) & (alpha < _SURE_SUBJECT)
    core = (alpha >= 128).view(np.uint8)
    edge = cv2.morphologyEx(core, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _BAND_CELLS + 1, 2 * _BAND_CELLS + 1))
    return cv2.dilate(edge | unsure.view(np.uint8), around) > 0


def _can_be_solved(photo: Pixels, unknown_cells: Pixels) -> bool:
    share = float(unknown_cells.mean())
    return min(photo.shape[:2]) >= _LEAST_SIDE_PX and 0 < share <= _MAX_UNKNOWN_SHARE


def _solve(photo: Pixels, alpha: Pixels, unknown_cells: Pixels, check: Callable[[], None]) -> Pixels | None:
    """Return the alpha uint8 of a smaller picture, solved for; None where no solution was found."""
    width, height = _work_size(photo, float(unknown_cells.mean()))
    small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    guess: Floats = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255.0
    unknown = cv2.resize(unknown_cells.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0
    known = np.where(unknown, guess, guess >= 0.5).astype(np.float32)
    check()
    system = matting_system(small, known, unknown)
    check()
    solution = solve(system, known[unknown], check=check)
    if not solution.converged:
        return None
    known[unknown] = solution.values
    solved: Pixels = np.rint(known.clip(0, 1) * 255).astype(np.uint8)
    return solved


def _work_size(photo: Pixels, unknown_share: float) -> tuple[int, int]:
    """Return width and height to solve at: the photo's own, or as large as the bounds allow."""
    height, width = photo.shape[:2]
    most = min(MAX_WORK_PX, MAX_UNKNOWN_PX / unknown_share)
    scale = min(1.0, (most / (width * height)) ** 0.5)
    return max(_LEAST_SIDE_PX, int(width * scale)), max(_LEAST_SIDE_PX, int(height * scale))
