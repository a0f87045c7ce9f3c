# SPDX-License-Identifier: Apache-2.0
"""AVIF files to pixels by libavif, strip by strip, the same to the bit as Pillow makes of them."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from matting_pixels.arrays import Pixels

from matting_gateway.domain import Buffer
from matting_gateway.imaging.libavif import STRIP_ROWS, Image, Rectangle, check, library, part_of, rows_for

# Rows beside a strip that its colour is interpolated from: one of colour, which is two of brightness.
_MARGIN_ROWS = 2
# AVIF_STRICT_ALPHA_ISPE_REQUIRED alone: other programs leave the rest out, or write it wrong.
_STRICT_FLAGS = 4


class OpenPicture:
    """A decoded AVIF while its file is open: planes of libavif's, of which rows are made."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.size = int(image.width), int(image.height)
        self.has_alpha = bool(image.alpha)

    def profile(self, max_bytes: int) -> bytes:
        """Return the embedded profile, or nothing where there is none or it is longer."""
        icc = self._image.icc
        return ctypes.string_at(icc.data, icc.size) if 0 < icc.size <= max_bytes else b""

    def read_into(self, color: Pixels, alpha: Pixels | None) -> None:
        """Make its pixels, uint8 [H, W, 3] and [H, W].

        Raises:
            AvifError: They cannot be made.
        """
        width, height = self.size
        strip = np.empty((STRIP_ROWS + 2 * _MARGIN_ROWS, width, 4), np.uint8)
        for top in range(0, height, STRIP_ROWS):
            bottom = min(height, top + STRIP_ROWS)
            first, last = max(0, top - _MARGIN_ROWS), min(height, bottom + _MARGIN_ROWS)
            with part_of(self._image, Rectangle(0, first, width, last - first)) as part:
                check(library.avifImageYUVToRGB(part, ctypes.byref(rows_for(part, strip))))
            rows = strip[top - first : bottom - first]
            color[top:bottom] = rows[..., :3]
            if alpha is not None:
                alpha[top:bottom] = rows[..., 3]


@contextmanager
def open_avif(content: Buffer) -> Iterator[OpenPicture]:
    """Decode the first picture of a file, within the block.

    Raises:
        AvifError: Cut off or damaged.
        MemoryError: More is needed than may be taken.
    """
    source = np.frombuffer(content, np.uint8)
    decoder = library.avifDecoderCreate()
    if not decoder:
        raise MemoryError
    try:
        decoder.contents.strict_flags = _STRICT_FLAGS
        check(library.avifDecoderSetIOMemory(decoder, source.ctypes.data, source.size))
        check(library.avifDecoderParse(decoder))
        check(library.avifDecoderNthImage(decoder, 0))
        yield OpenPicture(decoder.contents.image.contents)
    finally:
        library.avifDecoderDestroy(decoder)
