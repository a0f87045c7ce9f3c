# SPDX-License-Identifier: Apache-2.0
"""A WebP writer that never has the picture as a whole: lossy colour by libwebp, what is lossless by `vp8l`.

A WebP without a profile is sRGB (RFC 9649, 2.7.1.4).
"""

import struct
from collections.abc import Sequence

from matting_pixels.arrays import Pixels
from open_inference.tensors import Buffer

from matting_gateway.imaging.writers.libwebp import encode_color
from matting_gateway.imaging.writers.png import FillRows
from matting_gateway.imaging.writers.vp8l import encode_gray, encode_rgba

# The file's own chunk and its four letters.
_PREFIX_BYTES = 12
_ALPHA_FLAG = 0x10
# An alpha that is packed without loss, what the gradient filter leaves of it.
_ALPHA_HEADER = bytes([1 | 3 << 2])


def encode_webp_rows(width: int, height: int, fill: FillRows, alpha: Pixels | None, quality: int | None) -> bytes:
    """Write a WebP whose rows of uint8 RGBA are made when they are needed.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        fill: Makes rows; from the top one on, for a lossless file twice.
        alpha: uint8 [height, width], the same as in the rows; kept without loss. None where all is opaque.
        quality: 1 to 100, of the colour; None: without loss.

    Raises:
        InternalError: The writer failed.
    """
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if quality is None:
        return _file(_chunk(b"VP8L", encode_rgba(width, height, fill, has_alpha=alpha is not None)))
    color = encode_color(width, height, fill, alpha, quality)
    if alpha is None:
        return color
    features = struct.pack("<I", _ALPHA_FLAG) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    packed = _chunk(b"ALPH", _ALPHA_HEADER + encode_gray(alpha))
    return _file((*_chunk(b"VP8X", features), *packed, memoryview(color)[_PREFIX_BYTES:]))


def _file(parts: Sequence[Buffer]) -> bytes:
    return b"".join((b"RIFF", struct.pack("<I", 4 + sum(map(len, parts))), b"WEBP", *parts))


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, ...]:
    return kind, struct.pack("<I", len(body)), body, bytes(len(body) % 2)
