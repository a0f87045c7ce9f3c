# SPDX-License-Identifier: Apache-2.0
"""A call's file as a worker has it before it: pixels where they are kept, results where the gateway reads them."""

import math
import mmap
from dataclasses import dataclass

import numpy as np
from matting_pixels.arrays import Pixels
from open_inference.tensors import Buffer

from matting_gateway.domain.photo import RawPhoto
from matting_gateway.errors import InternalError
from matting_gateway.imaging.color.pixels import Decoded, from_raw
from matting_gateway.imaging.photo_job import ABANDONED_OFFSET, Kept, PhotoJob, Picture, RawPlan, Span
from matting_gateway.imaging.worker.canvas import DType


class AbandonedError(Exception):
    """Nobody waits any more for what is being done."""


class CallRoom:
    """The mapped file of one call."""

    def __init__(self, memory: mmap.mmap, job: PhotoJob) -> None:
        self._memory = memory
        self._job = job
        self._results_end = job.results.offset

    def check_wanted(self) -> None:
        """Do nothing as long as somebody waits for the results.

        Raises:
            AbandonedError: Nobody does.
        """
        if self._memory[ABANDONED_OFFSET]:
            raise AbandonedError

    def content(self, picture: Picture) -> memoryview:
        """Return a picture as it came."""
        span = picture.content
        return memoryview(self._memory)[span.offset : span.offset + span.byte_count]

    def raw(self, picture: Picture, plan: RawPlan) -> Decoded:
        """Return rows of pixels as colour and alpha."""
        return from_raw(RawPhoto(self.content(picture), plan.width_px, plan.height_px, plan.pixel_format))

    def model_input(self) -> Pixels:
        """Return where the model's input belongs, uint8 RGB [h, w, 3]."""
        grid = self._job.placement
        return self._array(self._job.model, (grid.grid_height_px, grid.grid_width_px, 3), np.dtype(np.uint8))

    def matte(self) -> Pixels:
        """Return the model's answer, uint8 [h, w]."""
        grid = self._job.placement
        return self._array(self._job.matte, (grid.grid_height_px, grid.grid_width_px), np.dtype(np.uint8))

    def color(self, picture: Picture, height_px: int, width_px: int, dtype: DType) -> Pixels:
        """Return where a picture's colour is kept, [H, W, 3].

        Raises:
            ValueError: It is larger than its place.
        """
        return self._array(picture.color, (height_px, width_px, 3), dtype)

    def alpha(self, picture: Picture, height_px: int, width_px: int, dtype: DType) -> Pixels:
        """Return where a picture's own alpha is kept, [H, W].

        Raises:
            ValueError: It is larger than its place.
        """
        return self._array(picture.alpha, (height_px, width_px), dtype)

    def kept(self, picture: Picture, kept: Kept) -> tuple[Pixels | None, Pixels | None]:
        """Return the colour and the alpha that decoding left of a picture, where results need them."""
        plan = picture.plan
        if isinstance(plan, RawPlan):
            decoded = self.raw(picture, plan)
            return decoded.color if plan.keep_color else None, decoded.alpha
        size, dtype = (plan.height_px, plan.width_px), np.dtype(np.uint16 if kept.deep else np.uint8)
        color = self.color(picture, *size, dtype) if plan.keep_color else None
        return color, self.alpha(picture, *size, dtype) if kept.alpha else None

    def add_result(self, data: Buffer) -> Span:
        """Put a result behind the ones before; returns where it lies.

        Raises:
            InternalError: There is no room for it.
        """
        view = memoryview(data).cast("B")
        span = Span(self._results_end, view.nbytes)
        if span.offset + span.byte_count > self._job.total_bytes:
            raise InternalError("A result is larger than the room that was kept for it.")
        self._memory[span.offset : span.offset + span.byte_count] = view
        self._results_end += span.byte_count
        return span

    def let_go_inputs(self) -> None:
        """Give the system back all but the results: an answer may be read slowly, and then that is all that is held."""
        self._memory.madvise(mmap.MADV_REMOVE, 0, self._job.results.offset)

    def _array(self, span: Span, shape: tuple[int, ...], dtype: DType) -> Pixels:
        count = math.prod(shape)
        if count * dtype.itemsize > span.byte_count:
            raise ValueError("pixels are larger than their place")
        return np.frombuffer(self._memory, dtype, count, span.offset).reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class SharedCanvas:
    """Makes the room for a picture in the call's file."""

    room: CallRoom
    picture: Picture

    def color(self, height_px: int, width_px: int, dtype: DType) -> Pixels:
        return self.room.color(self.picture, height_px, width_px, dtype)

    def alpha(self, height_px: int, width_px: int, dtype: DType) -> Pixels:
        return self.room.alpha(self.picture, height_px, width_px, dtype)
