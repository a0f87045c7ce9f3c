# SPDX-License-Identifier: Apache-2.0
"""How far an alpha that was solved for is believed, cell by cell of the model's grid.

Matting sees colours and not what a subject is. It sharpens an edge, finds hair and takes haze away; but from where
nothing is held it drains a subject, a highlight in it or a thin part, and into background of the subject's colour it
runs. Both show as a difference between the solution and the model's own alpha over several cells.
"""

import cv2
import numpy as np

from matting_pixels.arrays import Floats, Pixels

# Differences are means over so many cells, of alpha 0 to 1: less than the first is believed, more than the second not.
_NEAR_CELLS, _WIDE_CELLS = 5, 33
_ADDED = (0.1, 0.2)
# What is lost of a detail: beyond what is lost all around it, as where the model's haze is taken away.
_LOST = (0.4, 0.6)
# How far it may be to what is surely subject, in shares of the grid's longer side.
_REACH = (0.06, 0.18)


def confidence(alpha: Pixels, solved: Pixels, sure_subject: Pixels) -> Floats:
    """Return from 0 (the model's alpha stays) to 1 (what was solved for is taken), float32 [h, w].

    Args:
        alpha: The model's alpha uint8 [h, w] at its grid.
        solved: The solved alpha uint8 of the same view, at any size.
        sure_subject: bool [h, w], where the model is sure of the subject; some of it is true.
    """
    height, width = alpha.shape
    difference: Floats = cv2.resize(solved, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    np.subtract(difference, alpha, out=difference)
    difference /= 255
    near: Floats = cv2.blur(difference, (_NEAR_CELLS, _NEAR_CELLS))
    lost: Floats = cv2.blur(difference, (_WIDE_CELLS, _WIDE_CELLS))
    del difference
    lost -= near
    _fall(near, _ADDED)
    np.minimum(near, _fall(lost, _LOST), out=near)
    del lost
    away: Floats = cv2.distanceTransform((~sure_subject).view(np.uint8), cv2.DIST_L2, 5)
    away /= max(height, width)
    return np.minimum(near, _fall(away, _REACH), out=near)


def _fall(values: Floats, bounds: tuple[float, float]) -> Floats:
    """Turn values into 1 up to the first bound, 0 from the second on, and what is on the line between."""
    first, second = bounds
    values -= second
    values /= first - second
    return np.clip(values, 0, 1, out=values)
