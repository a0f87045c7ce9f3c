# SPDX-License-Identifier: Apache-2.0
"""A straightforward PNG writer for every colour type, bit depth and chunk, honest or not."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column, first row, column step, row step of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_png(
    samples: NDArray[np.uint16],
    color_type: int,
    bit_depth: int,
    *,
    interlaced: bool = False,
    before: Sequence[tuple[bytes, bytes]] = (),
    size: tuple[int, int] | None = None,
) -> bytes:
    """Write samples [H, W, C] as they are.

    Args:
        samples: Values below 2 ** bit_depth.
        color_type: The number that PNG gives it.
        bit_depth: 1, 2, 4, 8 or 16.
        interlaced: Whether rows are written in Adam7 passes.
        before: Chunks to put between the header and the picture, such as PLTE and tRNS.
        size: Width and height to claim, if other than the truth.
    """
    height, width = samples.shape[:2]
    if samples.shape[2] != _SAMPLES[color_type]:
        raise ValueError("the number of samples is not that of the colour type")
    claimed = size or (width, height)
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    raw = b"".join(_rows(samples[row::down, column::across], bit_depth) for column, row, across, down in passes)
    header = struct.pack(">IIBBBBB", *claimed, bit_depth, color_type, 0, 0, int(interlaced))
    return b"".join(
        (
            SIGNATURE,
            chunk(b"IHDR", header),
            *(chunk(kind, body) for kind, body in before),
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        )
    )


def _rows(samples: NDArray[np.uint16], bit_depth: int) -> bytes:
    if 0 in samples.shape:
        return b""
    flat = samples.reshape(samples.shape[0], -1)
    if bit_depth == 16:
        packed = flat.astype(">u2").view(np.uint8)
    elif bit_depth == 8:
        packed = flat.astype(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(bit_depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(len(flat), -1).astype(np.uint8), axis=1)
    return b"".join(b"\x00" + row.tobytes() for row in packed)
