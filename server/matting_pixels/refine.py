# SPDX-License-Identifier: Apache-2.0
"""Alpha upsampling with the photo as guide: the fast guided filter.

He, Sun, Tang, "Guided Image Filtering", TPAMI 2013; He, Sun, "Fast Guided Filter", arXiv 1505.00996, 2015:
the linear model alpha = a . colour + b is fitted in small windows at the alpha's own low resolution, and its
smoothed coefficients are applied to the photo's own colours at full size, where the alpha is not simply 0 or 255.
"""

import cv2
import numpy as np

from matting_pixels.arrays import Floats, Pixels

# Cells and pixels worked on at once: intermediate values stay small, and in the cache.
_STRIP_CELLS = 64
_STRIP_ROWS, _TILE_COLUMNS = 32, 256
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
    guide = cv2.resize(photo, (grid_width, grid_height), interpolation=cv2.INTER_AREA)
    coefficients = np.empty((grid_height, grid_width, 4), np.float32)
    for top in range(0, grid_height, _STRIP_CELLS):
        bottom = min(grid_height, top + _STRIP_CELLS)
        # With what the windows of its first and last rows reach, a strip is fitted as the whole would be.
        first, last = max(0, top - 2 * radius_px), min(grid_height, bottom + 2 * radius_px)
        colors, values = (pixels[first:last].astype(np.float32) / np.float32(255.0) for pixels in (guide, alpha))
        fitted = fit_linear_model(colors, values, radius_px, epsilon)
        coefficients[top:bottom] = fitted[top - first : bottom - first]
    return _apply_linear_model(photo, coefficients, _settled(alpha, radius_px))


def fit_linear_model(guide: Floats, alpha: Floats, radius_px: int, epsilon: float) -> Floats:
    """Fit alpha = a . guide + b in every window; guide [h, w, 3] and alpha [h, w] 0 to 1; returns [h, w, 4]."""
    size = (2 * radius_px + 1, 2 * radius_px + 1)

    def mean(values: Floats) -> Floats:
        return cv2.blur(values, size, borderType=cv2.BORDER_REFLECT)

    colors = cv2.split(guide)
    means, mean_alpha = [mean(color) for color in colors], mean(alpha)
    towards = [mean(color * alpha) - average * mean_alpha for color, average in zip(colors, means, strict=True)]

    def covariance(one: int, other: int) -> Floats:
        between: Floats = mean(colors[one] * colors[other]) - means[one] * means[other]
        return between + np.float32(epsilon) if one == other else between

    rr, rg, rb = covariance(0, 0), covariance(0, 1), covariance(0, 2)
    gg, gb, bb = covariance(1, 1), covariance(1, 2), covariance(2, 2)
    # L D L^T of the covariance by hand: its inverse by cofactors loses all digits where the colours are on a line.
    along_g, along_b = rg / rr, rb / rr
    gg -= along_g * rg
    gb -= along_g * rb
    across = gb / gg
    bb -= along_b * rb + across * gb
    left_g = towards[1] - along_g * towards[0]
    blue = (towards[2] - along_b * towards[0] - across * left_g) / bb
    green = left_g / gg - across * blue
    slopes = [towards[0] / rr - along_g * green - along_b * blue, green, blue]
    offset = mean_alpha - sum(slope * average for slope, average in zip(slopes, means, strict=True))
    fitted: Floats = cv2.merge([mean(each) for each in (*slopes, offset)])
    return fitted


def _settled(alpha: Pixels, radius_px: int) -> Pixels:
    """Return 0 or 255 where every window that a cell's coefficients come from is wholly so, and 128 elsewhere."""
    # A window to fit, a window to smooth, and a cell for the interpolation between coefficients.
    around = np.ones((4 * radius_px + 3, 4 * radius_px + 3), np.uint8)
    low, high = cv2.erode(alpha, around), cv2.dilate(alpha, around)
    return np.where(low == 255, 255, np.where(high == 0, 0, 128)).astype(np.uint8)


def _apply_linear_model(photo: Pixels, coefficients: Floats, settled: Pixels) -> Pixels:
    """Apply smoothed coefficients [h, w, 4] to the photo, tile by tile, but for tiles that are settled."""
    height, width = photo.shape[:2]
    upper, lower, weight = _neighbours(height, coefficients.shape[0])
    left_cells, right_cells, _ = _neighbours(width, coefficients.shape[1])
    out = np.empty((height, width), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, min(height, top + _STRIP_ROWS))
        cells = slice(int(upper[rows.start]), int(lower[rows.stop - 1]) + 1)
        runs = _runs(settled[cells], left_cells, right_cells, width)
        wide = cv2.resize(coefficients[cells], (width, cells.stop - cells.start), interpolation=cv2.INTER_LINEAR)
        for first, last, value in runs:
            columns = slice(first, last)
            if value != 128:
                out[rows, columns] = value
                continue
            model = wide[upper[rows] - cells.start, columns]
            model += weight[rows, None, None] * (wide[lower[rows] - cells.start, columns] - model)
            color = np.einsum("hwc,hwc->hw", model[..., :3], photo[rows, columns].astype(np.float32))
            out[rows, columns] = np.clip(np.rint(color + 255.0 * model[..., 3]), 0, 255)
    return out


def _runs(settled: Pixels, left_cells: Pixels, right_cells: Pixels, width: int) -> list[tuple[int, int, int]]:
    """Cut a strip into runs of tiles that are alike: first column, one past the last, and what they are settled to."""
    low, high = settled.min(axis=0), settled.max(axis=0)
    runs: list[tuple[int, int, int]] = []
    for first in range(0, width, _TILE_COLUMNS):
        last = min(width, first + _TILE_COLUMNS)
        cells = slice(int(left_cells[first]), int(right_cells[last - 1]) + 1)
        least, most = int(low[cells].min()), int(high[cells].max())
        value = least if least == most else 128
        if runs and runs[-1][2] == value:
            first = runs.pop()[0]  # noqa: PLW2901 - the run before goes on
        runs.append((first, last, value))
    return runs


def _neighbours(length: int, cells: int) -> tuple[Pixels, Pixels, Floats]:
    """Return the two cells whose centres are around each pixel's centre, and the second one's weight."""
    centres = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    near = centres.astype(np.intp)
    return near, np.minimum(near + 1, cells - 1), (centres - near).astype(np.float32)
