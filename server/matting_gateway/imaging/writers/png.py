# SPDX-License-Identifier: Apache-2.0
"""A PNG writer for speed: one filter, and deflate by igzip (Intel ISA-L), strip by strip.

libpng's search for the best filter and zlib's search for long matches are what makes PNG slow. The
difference to the row above keeps nearly all of what filters gain (on photos it packs better than the
difference to the left, on mattes much better), and igzip deflates many times faster than zlib.
"""

import io
import mmap
import struct
from collections.abc import Callable

import numpy as np
from isal import isal_zlib
from matting_pixels.arrays import Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}
_UP = 2
_STRIP_BYTES = 1 << 20
_LEVEL = 1
# A picture of so many bytes is written in memory that goes back to the system. The allocator would keep it for the
# thread, beside the next photo; but new pages cost time, some 2 ms.
_LARGE_BYTES = 32 << 20
# Blocks of that size even the allocator gives back (`privacy/environment.py`).
_GIVEN_BACK_BYTES = 2 << 20

# Fills rows top to bottom of the picture: `fill(out, top)`.
FillRows = Callable[[Pixels, int], None]


def encode_png(pixels: Pixels) -> bytes:
    """Write uint8 or uint16 [H, W], [H, W, 3] or [H, W, 4] as PNG, tagged sRGB, with no other metadata."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]

    def fill(out: Pixels, top: int) -> None:
        out[:] = pixels[top : top + out.shape[0]].reshape(out.shape)

    return encode_png_rows(width, height, samples, pixels.dtype, fill)


def encode_png_rows(width: int, height: int, samples: int, dtype: np.dtype[np.generic], fill: FillRows) -> bytes:
    """Write a PNG whose rows are made when they are needed, so that the whole picture never exists at once."""
    bit_depth = 8 * dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bit_depth, _COLOR_TYPES[samples], 0, 0, 0)
    row_bytes = width * samples * dtype.itemsize
    is_large = height * row_bytes >= _LARGE_BYTES
    # Its buffer becomes the result without a copy, which joining pieces would make.
    out = io.BytesIO(bytes(_GIVEN_BACK_BYTES) if is_large else b"")
    out.writelines((_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"sRGB", b"\x00")))
    deflate = isal_zlib.compressobj(_LEVEL)
    strip_rows = max(1, min(height, _STRIP_BYTES // row_bytes))
    room_bytes = strip_rows * (2 * row_bytes + 1)
    room = mmap.mmap(-1, room_bytes) if is_large else np.empty(room_bytes, np.uint8)
    strip = np.frombuffer(room, dtype, strip_rows * width * samples).reshape(strip_rows, width, samples)
    filtered = np.frombuffer(room, np.uint8, offset=strip.nbytes).reshape(strip_rows, row_bytes + 1)
    previous = np.zeros(row_bytes, np.uint8)
    for top in range(0, height, strip_rows):
        rows = min(strip_rows, height - top)
        fill(strip[:rows], top)
        raw = _big_endian(strip[:rows]).reshape(rows, row_bytes)
        _filter_up(raw, previous, filtered[:rows])
        previous = raw[-1].copy()
        if packed := deflate.compress(filtered[:rows]):
            out.writelines(_chunk(b"IDAT", packed))
    out.writelines((*_chunk(b"IDAT", deflate.flush()), *_chunk(b"IEND", b"")))
    out.truncate()
    return out.getvalue()


def _filter_up(raw: Pixels, previous: Pixels, out: Pixels) -> None:
    """PNG filter type 2: the difference to the pixel above."""
    out[:, 0] = _UP
    np.subtract(raw[0], previous, out=out[0, 1:])
    np.subtract(raw[1:], raw[:-1], out=out[1:, 1:])


def _big_endian(strip: Pixels) -> Pixels:
    return strip.byteswap().view(np.uint8) if strip.dtype.itemsize == 2 else strip.view(np.uint8)


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, ...]:
    """Return a chunk in pieces, to be written without a copy of the body."""
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", isal_zlib.crc32(body, isal_zlib.crc32(kind)))
