# SPDX-License-Identifier: Apache-2.0
"""Where decoders put pixels, so that a photo is in memory once while it is decoded and not twice."""

from typing import Protocol, TypeAlias

import numpy as np
from matting_pixels.arrays import Pixels

DType: TypeAlias = np.dtype[np.generic]


class Canvas(Protocol):
    """Makes the room for a picture: its colour [H, W, 3], and its alpha [H, W] if it has one."""

    def color(self, height_px: int, width_px: int, dtype: DType) -> Pixels: ...

    def alpha(self, height_px: int, width_px: int, dtype: DType) -> Pixels: ...


class PrivateCanvas:
    """Room in this process's own memory."""

    def color(self, height_px: int, width_px: int, dtype: DType) -> Pixels:
        return np.empty((height_px, width_px, 3), dtype)

    def alpha(self, height_px: int, width_px: int, dtype: DType) -> Pixels:
        return np.empty((height_px, width_px), dtype)
