# SPDX-License-Identifier: Apache-2.0
"""Where decoders put pixels, so that a photo is in memory once while it is decoded and not twice."""

import ctypes
import mmap
from collections.abc import Iterator
from typing import Protocol, TypeAlias

import numpy as np
from matting_pixels.arrays import Pixels

_STRIP_ROWS = 64

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


def consume(pixels: Pixels) -> Iterator[tuple[slice, Pixels]]:
    """Yield an array in C order strip by strip, and give back the memory of each when it is done with.

    Nobody may read the array afterwards.
    """
    libc = ctypes.CDLL(None)
    page_bytes = mmap.PAGESIZE
    for top in range(0, pixels.shape[0], _STRIP_ROWS):
        strip = pixels[top : top + _STRIP_ROWS]
        yield slice(top, top + len(strip)), strip
        # Only whole pages inside of the array; they read as 0 from then on.
        start = -(-strip.ctypes.data // page_bytes) * page_bytes
        end = (strip.ctypes.data + strip.nbytes) // page_bytes * page_bytes
        if start < end:
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def give_back_freed() -> None:
    """Return to the system what the allocator keeps of freed memory (malloc_trim(3))."""
    ctypes.CDLL(None).malloc_trim(0)
