# SPDX-License-Identifier: Apache-2.0
"""What the gateway and a decoder process say to each other."""

import math
import mmap
from dataclasses import dataclass

import numpy as np
from matting_pixels.arrays import Pixels

from matting_gateway.imaging.canvas import DType
from matting_gateway.imaging.plan import DecodePlan
from matting_gateway.imaging.prepare import Prepared

REQUEST_BYTES, ANSWER_BYTES = 1 << 16, 1 << 12


@dataclass(frozen=True, slots=True)
class Request:
    """What the parent sends beside the descriptors.

    Attributes:
        plan: What to make of the file.
        content_bytes: Length of the file.
        memory_bytes: How far the address space may grow.
        timeout_s: After so many whole seconds the process ends itself, should the parent be gone by then.
    """

    plan: DecodePlan
    content_bytes: int
    memory_bytes: int
    timeout_s: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts lie in the shared memory; offsets and sizes follow from the plan alone."""

    model_bytes: int
    color_bytes: int
    alpha_bytes: int

    @classmethod
    def of(cls, plan: DecodePlan) -> "Layout":
        sample_bytes = 2 if plan.header.bits_per_sample > 8 else 1
        area = plan.width_px * plan.height_px
        placement = plan.placement
        return cls(
            3 * placement.grid_width_px * placement.grid_height_px if placement else 0,
            3 * area * sample_bytes if plan.keep_color else 0,
            area * sample_bytes if plan.header.has_alpha else 0,
        )

    @property
    def total_bytes(self) -> int:
        return max(1, self.model_bytes + self.color_bytes + self.alpha_bytes)

    def color(self, room: memoryview | mmap.mmap, height_px: int, width_px: int, dtype: DType) -> Pixels:
        """Return the colour's part of the shared memory as an array.

        Raises:
            ValueError: It is larger than its place.
        """
        return _part(room, self.model_bytes, self.color_bytes, (height_px, width_px, 3), dtype)

    def alpha(self, room: memoryview | mmap.mmap, height_px: int, width_px: int, dtype: DType) -> Pixels:
        """Return the alpha's part of the shared memory as an array.

        Raises:
            ValueError: It is larger than its place.
        """
        return _part(room, self.model_bytes + self.color_bytes, self.alpha_bytes, (height_px, width_px), dtype)

    def parts(self, room: memoryview | mmap.mmap, plan: DecodePlan, *, deep: bool, alpha: bool) -> Prepared:
        """Return the parts of the shared memory as arrays, without copying."""
        dtype = np.dtype(np.uint16 if deep else np.uint8)
        size = (plan.height_px, plan.width_px)
        model: Pixels | None = None
        if plan.placement is not None:
            grid = (plan.placement.grid_height_px, plan.placement.grid_width_px, 3)
            model = _part(room, 0, self.model_bytes, grid, np.dtype(np.uint8))
        return Prepared(
            model,
            self.color(room, *size, dtype) if self.color_bytes else None,
            self.alpha(room, *size, dtype) if alpha and self.alpha_bytes else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class SharedCanvas:
    """Room in the shared memory, laid out as planned."""

    layout: Layout
    room: mmap.mmap

    def color(self, height_px: int, width_px: int, dtype: DType) -> Pixels:
        return self.layout.color(self.room, height_px, width_px, dtype)

    def alpha(self, height_px: int, width_px: int, dtype: DType) -> Pixels:
        return self.layout.alpha(self.room, height_px, width_px, dtype)


def _part(room: memoryview | mmap.mmap, offset: int, byte_count: int, shape: tuple[int, ...], dtype: DType) -> Pixels:
    count = math.prod(shape)
    if count * dtype.itemsize > byte_count:
        raise ValueError("pixels are larger than their place")
    return np.frombuffer(room, dtype, count, offset).reshape(shape)
