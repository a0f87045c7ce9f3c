# SPDX-License-Identifier: Apache-2.0
"""Alpha upsampling with the photo as guide: the fast guided filter.

He, Sun, Tang, "Guided Image Filtering", TPAMI 2013; He, Sun, "Fast Guided Filter", arXiv 1505.00996, 2015:
the linear model alpha = a . colour + b is fitted in small windows at the alpha's own low resolution, and its
smoothed coefficients are applied to the photo's own colours at full size.
"""

import cv2
import numpy as np

from matting_pixels.arrays import Floats, Pixels

_STRIP_ROWS = 32
_RADIUS_PX = 2
_EPSILON = 1e-5


def refine_guided(photo: Pixels, alpha: Pixels, *, radius_px: int = _RADIUS_PX, epsilon: float = _EPSILON) -> Pixels:
    """Bring an alpha uint8 [h, w] to the size of its photo uint8 [H, W, 3], along the photo's edges.

    Args:
        photo: The guide, in sRGB.
        alpha: The matte, of the same view, usually much smaller.
        radius_px: Half the window, in pixels of the alpha.
        epsilon: How much colour variance counts as texture, not edge (colours 0 to 1).

    Returns:
        The alpha uint8 [H, W].
    """
    grid_height, grid_width = alpha.shape
    height, width = photo.shape[:2]
    guide = cv2.resize(photo, (grid_width, grid_height), interpolation=cv2.INTER_AREA)
    coefficients = fit_linear_model(
        guide.astype(np.float32) / 255.0, alpha.astype(np.float32) / 255.0, radius_px, epsilon
    )
    return apply_linear_model(photo, coefficients, width, height)


def fit_linear_model(guide: Floats, alpha: Floats, radius_px: int, epsilon: float) -> Floats:
    """Fit alpha = a . guide + b in every window; guide [h, w, 3] and alpha [h, w] 0 to 1; returns [h, w, 4]."""
    size = (2 * radius_px + 1, 2 * radius_px + 1)

    def mean(values: Floats) -> Floats:
        return cv2.blur(values, size, borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_alpha = mean(guide), mean(alpha)
    covariance = mean(guide * alpha[..., None]) - mean_guide * mean_alpha[..., None]
    products = mean(np.stack([guide[..., i] * guide[..., j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1))], axis=-1))
    more = mean(np.stack([guide[..., 1] * guide[..., 2], guide[..., 2] * guide[..., 2]], axis=-1))
    red, green, blue = mean_guide[..., 0], mean_guide[..., 1], mean_guide[..., 2]
    variance = np.empty((*alpha.shape, 3, 3), np.float32)
    variance[..., 0, 0] = products[..., 0] - red * red + epsilon
    variance[..., 0, 1] = variance[..., 1, 0] = products[..., 1] - red * green
    variance[..., 0, 2] = variance[..., 2, 0] = products[..., 2] - red * blue
    variance[..., 1, 1] = products[..., 3] - green * green + epsilon
    variance[..., 1, 2] = variance[..., 2, 1] = more[..., 0] - green * blue
    variance[..., 2, 2] = more[..., 1] - blue * blue + epsilon
    slope = np.linalg.solve(variance, covariance[..., None])[..., 0]
    offset = mean_alpha - np.einsum("hwc,hwc->hw", slope, mean_guide)
    return mean(np.concatenate([slope, offset[..., None]], axis=-1).astype(np.float32))


def apply_linear_model(photo: Pixels, coefficients: Floats, width: int, height: int) -> Pixels:
    """Apply smoothed coefficients [h, w, 4] to the photo, strip by strip."""
    grid_height = coefficients.shape[0]
    out = np.empty((height, width), np.uint8)
    centres = np.clip((np.arange(height) + 0.5) * grid_height / height - 0.5, 0, grid_height - 1)
    upper = centres.astype(np.intp)
    lower = np.minimum(upper + 1, grid_height - 1)
    weight = (centres - upper).astype(np.float32)[:, None, None]
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, min(height, top + _STRIP_ROWS))
        first, last = int(upper[rows.start]), int(lower[rows.stop - 1])
        near = coefficients[first : last + 1]
        wide = cv2.resize(near, (width, len(near)), interpolation=cv2.INTER_LINEAR)
        model = wide[upper[rows] - first]
        model += weight[rows] * (wide[lower[rows] - first] - model)
        value = np.einsum("hwc,hwc->hw", model[..., :3], photo[rows].astype(np.float32)) + 255.0 * model[..., 3]
        out[rows] = np.clip(np.rint(value), 0, 255).astype(np.uint8)
    return out
