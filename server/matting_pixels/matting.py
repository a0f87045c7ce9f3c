# SPDX-License-Identifier: Apache-2.0
"""Alpha solved for at the edge: closed-form matting in a band around the model's own edge, then guided enlargement.

Outside the band the model is believed: all subject, or all background. Within it only the photo's colours count, and
what is around the band. The system is solved twice, on photos made so small that the unknown pixels are few: first
for the whole band, then finer for what is soft in that. Where the solution is not to be believed, the model's alpha
stays. Finer detail comes back with the guided filter, which has the whole photo.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import cv2
import numpy as np

from matting_pixels.arrays import Floats, Pixels
from matting_pixels.closed_form import matting_system
from matting_pixels.confidence import confidence
from matting_pixels.conjugate_gradients import solve
from matting_pixels.refine import refine_guided

# The most pixels that are solved on, and the most of them that are unknown: what bounds time and memory.
MAX_WORK_PX = 500_000
MAX_UNKNOWN_PX = 8_000
# Of these the first, coarse solution has fewer: it carries what is known across the whole band.
MAX_COARSE_UNKNOWN_PX = 4_000
# What that solution leaves between these is solved again, at so many times its size at most and at least.
_SOFT_FROM, _SOFT_TO = 12, 243
_MAX_STEP_UP, _LEAST_STEP_UP = 2.0, 1.15
# An alpha from here to there is the model's own doubt.
_SURE_BACKGROUND, _SURE_SUBJECT = 5, 250
_BAND_CELLS = 2
# Parts that are sure for so many cells from their axis on keep it, however thin; a pixel with so much of it is known.
_AXIS_CELLS, _AXIS_SHARE = 2, 0.3
# Where there is more doubt than certainty nothing would hold the solution. Doubt no wider than this is a soft edge.
_MAX_UNKNOWN_SHARE = 0.5
_SOFT_EDGE_CELLS = 9
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
    band, axis = unknown_band(alpha), subject_axis(alpha)
    solved = _solve(photo, alpha, band, axis, check) if _can_be_solved(photo, alpha, band) else None
    check()
    if solved is None:
        return RefinedAlpha(refine_guided(photo, alpha), solved=False)
    believed = _believed(alpha, solved)
    return RefinedAlpha(refine_guided(photo, believed, radius_px=_GUIDE_RADIUS_PX), solved=True)


def unknown_band(alpha: Pixels) -> Pixels:
    """Return where an alpha uint8 [h, w] of a model's grid is not believed, bool [h, w].

    Two cells to either side of its edge, and of all that the model itself is unsure of.
    """
    core = (alpha >= 128).view(np.uint8)
    edge = cv2.morphologyEx(core, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _BAND_CELLS + 1, 2 * _BAND_CELLS + 1))
    return cv2.dilate(edge | _unsure(alpha).view(np.uint8), around) > 0


def subject_axis(alpha: Pixels) -> Pixels:
    """Return the middle of all that is surely subject in an alpha uint8 [h, w], and not too thin, bool [h, w].

    It holds the solution where the band leaves nothing else of a thin part.
    """
    depth = cv2.distanceTransform((alpha >= _SURE_SUBJECT).view(np.uint8), cv2.DIST_L2, 5)
    axis: Pixels = (depth >= _AXIS_CELLS) & (depth == cv2.dilate(depth, np.ones((3, 3), np.uint8)))
    return axis


def _can_be_solved(photo: Pixels, alpha: Pixels, band: Pixels) -> bool:
    """Tell whether there is an edge, and more that is sure than doubt."""
    if min(photo.shape[:2]) < _LEAST_SIDE_PX or not 0 < float(band.mean()) <= _MAX_UNKNOWN_SHARE:
        return False
    doubt = cv2.erode(_unsure(alpha).view(np.uint8), np.ones((_SOFT_EDGE_CELLS, _SOFT_EDGE_CELLS), np.uint8))
    return int(np.count_nonzero(doubt)) <= int(np.count_nonzero(alpha >= _SURE_SUBJECT))


def _unsure(alpha: Pixels) -> Pixels:
    unsure: Pixels = (alpha > _SURE_BACKGROUND) & (alpha < _SURE_SUBJECT)
    return unsure


def _solve(photo: Pixels, alpha: Pixels, band: Pixels, axis: Pixels, check: Callable[[], None]) -> Pixels | None:
    """Return the alpha uint8 of a smaller picture, solved for; None where no solution was found.

    First of the whole band, small; then at up to twice the size of what is soft in that solution.
    """
    unknown = _unknown(photo, band, MAX_COARSE_UNKNOWN_PX)
    unknown &= cv2.resize(axis.astype(np.float32), unknown.shape[::-1], interpolation=cv2.INTER_AREA) <= _AXIS_SHARE
    coarse = _solve_for(photo, alpha, unknown, check)
    if coarse is None:
        return None
    soft = ((coarse > _SOFT_FROM) & (coarse < _SOFT_TO)).view(np.uint8)
    around = cv2.dilate(soft, np.ones((3, 3), np.uint8)) > 0
    height, width = coarse.shape
    unknown = _unknown(photo, around, MAX_UNKNOWN_PX, (_MAX_STEP_UP * width, _MAX_STEP_UP * height))
    if unknown.shape[1] < _LEAST_STEP_UP * width:
        return coarse
    fine = _solve_for(photo, coarse, unknown, check)
    return coarse if fine is None else fine


def _believed(alpha: Pixels, solved: Pixels) -> Pixels:
    """Mix what was solved for with the model's alpha, as far as it is believed."""
    size = solved.shape[::-1]
    models: Floats = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    weight = cv2.resize(confidence(alpha, solved, alpha >= _SURE_SUBJECT), size, interpolation=cv2.INTER_LINEAR)
    mixed: Pixels = np.rint(models + weight * (solved - models)).astype(np.uint8)
    return mixed


def _solve_for(photo: Pixels, alpha: Pixels, unknown: Pixels, check: Callable[[], None]) -> Pixels | None:
    """Solve for what is unknown, bool [h, w] of the size to solve at, and begin at what `alpha` says.

    Returns None where nothing is unknown, or no solution was found.
    """
    if not unknown.any():
        return None
    size = unknown.shape[::-1]
    check()
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    guess: Floats = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255.0
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


def _unknown(photo: Pixels, unknown: Pixels, max_unknown_px: int, max_size: tuple[float, float] = (inf, inf)) -> Pixels:
    """Return what is unknown, bool, at the size to solve at: the photo's own, or as large as the bounds allow."""
    height, width = photo.shape[:2]
    share = max(float(unknown.mean()), 1 / unknown.size)
    most = min(MAX_WORK_PX, max_unknown_px / share)
    scale = min(1.0, (most / (width * height)) ** 0.5, max_size[0] / width, max_size[1] / height)
    while True:
        size = (max(_LEAST_SIDE_PX, int(width * scale)), max(_LEAST_SIDE_PX, int(height * scale)))
        scaled = cv2.resize(unknown.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
        count = int(np.count_nonzero(scaled))
        if count <= max_unknown_px or size == (_LEAST_SIDE_PX, _LEAST_SIDE_PX):
            return scaled
        scale *= min(0.97, (max_unknown_px / count) ** 0.5)  # what a pixel touches in part counts whole
