# SPDX-License-Identifier: Apache-2.0
"""The one thing wanted of EXIF: the orientation (CIPA DC-008, tag 0x0112)."""

import struct

from open_inference.tensors import Buffer

_ORIENTATION = 0x0112
_SHORT = 3
_MAX_ENTRIES = 512


def read_orientation(exif: Buffer) -> int:
    """Return the orientation, 1 to 8, of a TIFF-shaped EXIF block; 1 where it says none or is damaged.

    A damaged EXIF block never costs the photo.
    """
    block = bytes(exif[:6])
    start = 6 if block == b"Exif\x00\x00" else 0
    view = memoryview(exif)[start:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(view[:2]))
    if order is None or len(view) < 8:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", view, 4)
        (count,) = struct.unpack_from(f"{order}H", view, directory)
        for index in range(min(count, _MAX_ENTRIES)):
            tag, kind = struct.unpack_from(f"{order}HH", view, directory + 2 + 12 * index)
            if tag == _ORIENTATION and kind == _SHORT:
                (value,) = struct.unpack_from(f"{order}H", view, directory + 10 + 12 * index)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
