# SPDX-License-Identifier: Apache-2.0
"""How far an alpha is from the truth: the four measures of matting benchmarks (Rhemann et al., CVPR 2009)."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from testkit.hair import gradient_error

# The band is what is soft in truth, and so many thousandths of the longer side around it.
_BAND_THOUSANDTHS = 10
_LEVELS = np.arange(0.1, 1.0, 0.1)


@dataclass(frozen=True)
class Errors:
    """`sad`, `gradient` and `connectivity` in thousands, `mse` in thousandths; the last two in the band only."""

    sad: float
    mse: float
    gradient: float
    connectivity: float
    band_sad: float
    band_mse: float


def errors(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Errors:
    """Compare two alphas uint8 [H, W]."""
    difference = np.abs(found.astype(np.float32) - truth) / 255
    inside = band(truth)
    return Errors(
        sad=float(difference.sum()) / 1000,
        mse=1000 * float((difference**2).mean()),
        gradient=gradient_error(found, truth) / 1000,
        connectivity=_connectivity_error(found, truth) / 1000,
        band_sad=float(difference[inside].sum()) / 1000,
        band_mse=1000 * float((difference[inside] ** 2).mean()) if inside.any() else 0.0,
    )


def band(truth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the true alpha uint8 [H, W] is soft, and what is near, bool [H, W]."""
    core = (truth >= 128).view(np.uint8)
    edge = cv2.morphologyEx(core, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    soft = (((truth + np.uint8(1)) > 1).view(np.uint8)) | edge.astype(np.uint8)
    size = 2 * (max(truth.shape) * _BAND_THOUSANDTHS // 1000) + 1
    return np.asarray(cv2.dilate(soft, np.ones((size, size), np.uint8)) > 0)


def _connectivity_error(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Return how differently the pixels hang together with what is wholly subject in both."""
    one, other = found.astype(np.float32) / 255, truth.astype(np.float32) / 255
    joined = np.zeros(one.shape, np.float32)
    still = np.ones(one.shape, bool)
    for level in _LEVELS:
        both = ((one >= level) & (other >= level)).view(np.uint8)
        count, labels, statistics, _ = cv2.connectedComponentsWithStats(both, connectivity=4)
        largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else -1
        still &= labels == largest
        joined[still] = level
    apart = [np.where(values - joined >= 0.15, values - joined, 0) for values in (one, other)]
    return float(np.abs(apart[0] - apart[1]).sum())
