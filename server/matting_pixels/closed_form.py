# SPDX-License-Identifier: Apache-2.0
"""Closed-form matting (Levin, Lischinski, Weiss, TPAMI 2008) of a band of unknown pixels, as a sparse system.

In every window of 3 x 3 pixels alpha shall be a linear function of colour. What that costs is a quadratic form in
alpha; the unknown pixels are those that make it least, all others being given.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import csr_array

from matting_pixels.arrays import Floats, Pixels

# How far colours of one window may stray from a line for nothing (colours 0 to 1, squared).
_EPSILON = 1e-6
# Holds alpha to the model's where nothing that is known is near; too little to be felt elsewhere.
_TIE = 1e-5
_WINDOW = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
# A pixel shares windows with the 5 x 5 pixels around it.
_REACH = 2
_SIDE = 2 * _REACH + 1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MattingSystem:
    """`matrix` @ alpha = `right_side`, for the n unknown pixels in order of rows.

    Attributes:
        matrix: float64 [n, n], symmetric and positive definite.
        right_side: float64 [n].
        rows: Row of each unknown pixel, [n].
        columns: Column of each, [n].
    """

    matrix: csr_array
    right_side: Floats
    rows: Pixels
    columns: Pixels


def matting_system(photo: Pixels, alpha: Floats, unknown: Pixels) -> MattingSystem:
    """Build the system of a photo uint8 [H, W, 3].

    Args:
        photo: At least 3 x 3 pixels, in sRGB.
        alpha: float32 [H, W], 0 to 1: what is given, and of unknown pixels what the model says.
        unknown: bool [H, W]; the system has a row for each that is true.
    """
    # A border of _REACH pixels that are in no window, so that no neighbour is ever outside.
    stride = unknown.shape[1] + 2 * _REACH
    windows = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    windows[[0, -1]] = windows[:, [0, -1]] = False
    window_of = _numbered(windows, none=int(np.count_nonzero(windows)))
    couplings = _couplings(photo, windows)
    rows, columns = np.nonzero(unknown)
    at = (rows + _REACH) * stride + columns + _REACH
    entries = np.zeros((_SIDE * _SIDE, len(at)), np.float64)
    for one, (down, across) in enumerate(_WINDOW):
        shared = couplings[one][:, window_of[at - down * stride - across]]
        for other, (other_down, other_across) in enumerate(_WINDOW):
            entries[(other_down - down + _REACH) * _SIDE + other_across - across + _REACH] += shared[other]
    offsets = [down * stride + across for down in range(-_REACH, _REACH + 1) for across in range(-_REACH, _REACH + 1)]
    number_of = _numbered(unknown, none=-1)
    given = np.pad(np.where(unknown, 0, alpha), _REACH).ravel()
    right_side = _TIE * alpha[rows, columns].astype(np.float64)
    for entry, offset in zip(entries, offsets, strict=True):
        right_side -= entry * given[at + offset]
    entries[len(offsets) // 2] += _TIE
    neighbours = number_of[at[:, None] + np.array(offsets)]
    kept = neighbours >= 0
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(kept, axis=1))])
    matrix = csr_array((entries.T[kept], neighbours[kept], starts.astype(np.int32)), shape=(len(at), len(at)))
    return MattingSystem(matrix, right_side, rows, columns)


def _numbered(mask: Pixels, *, none: int) -> Pixels:
    """Number the true pixels of a mask in order of rows; flat, with a border, and `none` where there is none."""
    numbers = np.full(mask.shape, none, np.int32)
    numbers[mask] = np.arange(np.count_nonzero(mask), dtype=np.int32)
    return np.pad(numbers, _REACH, constant_values=none).ravel()


def _couplings(photo: Pixels, windows: Pixels) -> Floats:
    """Return how strongly the pixels of each window hang together, float32 [9, 9, windows + 1]; the last is none.

    With the window's colours whitened by their covariance to z, the pixels i and j contribute
    delta(i, j) - (1 + z(i) . z(j)) / 9 to the quadratic form.
    """
    rows, columns = np.nonzero(windows)
    colors = np.stack([photo[rows + down, columns + across].T for down, across in _WINDOW]) / 255.0
    colors -= colors.mean(axis=0)
    white = _whitened(colors)
    out = np.zeros((9, 9, len(rows) + 1), np.float32)
    for one in range(9):
        for other in range(one, 9):
            shared = -(1 + (white[:, one] * white[:, other]).sum(axis=0)) / 9
            out[one, other, :-1] = out[other, one, :-1] = shared + (one == other)
    return out


def _whitened(colors: Floats) -> Floats:
    """Return L^-1 colour [3, 9, n] for centred colours float64 [9, 3, n]: L is Cholesky's factor of their covariance.

    Rounding cannot make the quadratic form negative so, as it can where the covariance is inverted.
    """
    least = _EPSILON / 9
    white: list[Floats] = []
    for channel in range(3):
        color = np.ascontiguousarray(colors[:, channel])
        remaining = (color * color).mean(axis=0)
        for done in white:
            along = (color * done).mean(axis=0)
            remaining -= along * along
            color -= along * done
        white.append(color / np.sqrt(np.maximum(remaining, 0) + least))
    return np.stack(white)
