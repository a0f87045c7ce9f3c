# SPDX-License-Identifier: Apache-2.0
"""Foreground colours without the background that shines through the soft edge: blur fusion.

Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021: blurred estimates of foreground and background
colour, weighted by alpha, corrected by what they fail to explain of the pixel; once with a wide blur for far
colours, once with a narrow one for detail.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Floats = NDArray[np.float32]

_WIDE_PX, _NARROW_PX = 90, 6
_TINY = np.float32(1e-5)


def decontaminate(color: Pixels, alpha: NDArray[np.uint8]) -> Pixels:
    """Estimate the subject's own colour where alpha is neither 0 nor 255.

    Args:
        color: The photo [H, W, 3], uint8 or uint16.
        alpha: Its alpha uint8 [H, W].

    Returns:
        The colour, changed at the soft edge only.
    """
    soft = (alpha > 0) & (alpha < 255)
    if not soft.any():
        return color
    scale = np.float32(np.iinfo(color.dtype).max)
    image = color.astype(np.float32) / scale
    weight = (alpha.astype(np.float32) / 255.0)[..., None]
    front, behind = _fuse(image, image, image, weight, _WIDE_PX)
    front, _ = _fuse(image, front, behind, weight, _NARROW_PX)
    out = color.copy()
    out[soft] = np.rint(front[soft] * scale).astype(color.dtype)
    return out


def _fuse(image: Floats, front: Floats, behind: Floats, weight: Floats, size_px: int) -> tuple[Floats, Floats]:
    """One pass: returns the foreground and the blurred background."""
    size = (size_px, size_px)
    blurred_weight = cv2.blur(weight, size)[..., None]
    blurred_front = cv2.blur(front * weight, size) / (blurred_weight + _TINY)
    blurred_behind = cv2.blur(behind * (1 - weight), size) / (1 - blurred_weight + _TINY)
    rest = image - weight * blurred_front - (1 - weight) * blurred_behind
    return np.clip(blurred_front + weight * rest, 0, 1), blurred_behind
