# SPDX-License-Identifier: Apache-2.0
"""Planes of brightness, colour and alpha in libavif's memory, of which AVIF files are written."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np

from matting_gateway.imaging.libavif import (
    STRIP_ROWS,
    Data,
    Image,
    Rectangle,
    check,
    library,
    part_of,
    rows_for,
)
from matting_gateway.imaging.png import FillRows

_COLOR_PLANES, _ALPHA_PLANE = 1, 2
_BT_709, _SRGB, _BT_601 = 1, 13, 6
_SPEED = 9
# What libavif sets for an alpha, which alone it would tune as if it were looked at.
_ALPHA_OPTIONS = {b"tune": b"psnr"}


class Sampling(IntEnum):
    """How much colour there is: for every pixel, for every four (4:2:0), or none."""

    FULL = 1
    HALVED = 3
    GRAY = 4


class Planes:
    """The planes of a picture in sRGB, filled from rows and written whole or in parts. Made by `new_planes`."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._has_alpha = bool(image.alpha)

    def fill(self, rows: FillRows, top: int = 0) -> None:
        """Fill them with as many rows of uint8 RGBA as they have, from a row of the picture on.

        Raises:
            AvifError: They cannot be converted.
        """
        width, height = self._image.width, self._image.height
        strip = np.empty((min(STRIP_ROWS, height), width, 4), np.uint8)
        for first in range(0, height, STRIP_ROWS):
            count = min(STRIP_ROWS, height - first)
            rows(strip[:count], top + first)
            with part_of(self._image, Rectangle(0, first, width, count)) as part:
                rgb = rows_for(part, strip)
                rgb.ignore_alpha = not self._has_alpha
                check(library.avifImageRGBToYUV(part, ctypes.byref(rgb)))

    def write(self, quality: int) -> bytes:
        """Return the picture as an AVIF file; an alpha that is opaque throughout is left out.

        Raises:
            AvifError: It cannot be written.
        """
        return _write(ctypes.pointer(self._image), quality, in_tiles=True)

    def write_color(self, left: int, width: int, quality: int) -> bytes:
        """Return the colour of some columns, of which the first is even, as an AVIF file.

        Raises:
            AvifError: It cannot be written.
        """
        with part_of(self._image, Rectangle(left, 0, width, self._image.height)) as part:
            part.contents.alpha = None
            return _write(part, quality)

    def write_alpha(self, left: int, width: int, quality: int) -> bytes:
        """Return the alpha of some columns as a gray AVIF file, packed to the bit as `write` packs an alpha.

        Raises:
            AvifError: It cannot be written.
        """
        gray = library.avifImageCreate(width, self._image.height, 8, Sampling.GRAY)
        if not gray:
            raise MemoryError
        try:
            gray.contents.planes[0] = self._image.alpha + left
            gray.contents.row_bytes[0] = self._image.alpha_row_bytes
            return _write(gray, quality, _ALPHA_OPTIONS)
        finally:
            library.avifImageDestroy(gray)


@contextmanager
def new_planes(width: int, height: int, sampling: Sampling, *, has_alpha: bool) -> Iterator[Planes]:
    """Make planes for the block.

    Raises:
        MemoryError: More is needed than may be taken.
        AvifError: libavif makes no such picture.
    """
    image = library.avifImageCreate(width, height, 8, sampling)
    if not image:
        raise MemoryError
    try:
        color = image.contents
        color.primaries, color.transfer, color.matrix = _BT_709, _SRGB, _BT_601
        check(library.avifImageAllocatePlanes(image, _COLOR_PLANES | _ALPHA_PLANE * has_alpha))
        yield Planes(color)
    finally:
        library.avifImageDestroy(image)


def _write(
    image: "ctypes._Pointer[Image]", quality: int, options: dict[bytes, bytes] | None = None, *, in_tiles: bool = False
) -> bytes:
    encoder = library.avifEncoderCreate()
    if not encoder:
        raise MemoryError
    packed = Data()
    try:
        settings = encoder.contents
        settings.max_threads, settings.auto_tiling, settings.speed, settings.quality = 1, in_tiles, _SPEED, quality
        for name, value in (options or {}).items():
            check(library.avifEncoderSetCodecSpecificOption(encoder, name, value))
        check(library.avifEncoderWrite(encoder, image, ctypes.byref(packed)))
        return ctypes.string_at(packed.data, packed.size)
    finally:
        library.avifRWDataFree(ctypes.byref(packed))
        library.avifEncoderDestroy(encoder)
