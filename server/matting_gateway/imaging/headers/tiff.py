# SPDX-License-Identifier: Apache-2.0
"""TIFF headers (TIFF 6.0)."""

import struct

from open_inference.tensors import Buffer

from matting_gateway.errors import ImageFormatUnsupportedError
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader, Reader

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION = 256, 257, 258, 259, 274
_SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _PROFILE = 277, 338, 339, 34675
_VALUE_LAYOUTS = {1: "B", 3: "H", 4: "I"}
# None, CCITT, LZW, JPEG, deflate (both numbers), PackBits.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})
_MAX_COUNTED_FRAMES = 10_000
_UNSIGNED = 1


def read_tiff_header(content: Buffer) -> FileHeader:
    """Read the first directory, and count the others.

    Raises:
        ImageUnreadableError: Cut off or damaged.
        ImageFormatUnsupportedError: A compression or a sample kind that is not accepted.
    """
    reader = Reader(content, "TIFF")
    order = "<" if reader.bytes(0, 2) == b"II" else ">"
    first = reader.unpack(f"{order}I", 4)[0]
    tags, following = _read_directory(reader, order, first)
    frame_count, seen = 1, {first}
    while following and following not in seen and frame_count < _MAX_COUNTED_FRAMES:
        seen.add(following)
        frame_count += 1
        count = reader.unpack(f"{order}H", following)[0]
        following = reader.unpack(f"{order}I", following + 2 + 12 * count)[0]
    width, height = _one(reader, tags, _WIDTH, 0), _one(reader, tags, _HEIGHT, 0)
    bits = tags.get(_BITS, (1,))
    sample_count = _one(reader, tags, _SAMPLES, 1)
    if _one(reader, tags, _COMPRESSION, 1) not in _COMPRESSIONS:
        raise ImageFormatUnsupportedError("This TIFF's compression is not accepted: use none, LZW, deflate or JPEG.")
    if max(bits) > 16 or set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}:
        raise ImageFormatUnsupportedError("TIFF samples must be unsigned integers of at most 16 bits.")
    # Both decoders turn a TIFF by themselves.
    if 5 <= _one(reader, tags, _ORIENTATION, 1) <= 8:
        width, height = height, width
    profile_bytes = len(tags.get(_PROFILE, ()))
    return FileHeader(
        format=ImageFormat.TIFF,
        width_px=width,
        height_px=height,
        bits_per_sample=max(bits),
        sample_count=sample_count,
        has_alpha=_EXTRA_SAMPLES in tags,
        frame_count=frame_count,
        metadata_chunks=len(tags),
        metadata_bytes=profile_bytes,
    )


def _read_directory(reader: Reader, order: str, at: int) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the integer values of a directory by tag, and where the next directory is (0: nowhere)."""
    count = reader.unpack(f"{order}H", at)[0]
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(count):
        entry = at + 2 + 12 * index
        tag, kind, value_count, offset = reader.unpack(f"{order}HHII", entry)
        layout = _VALUE_LAYOUTS.get(kind)
        if layout is None or not 1 <= value_count <= 16:
            continue
        layout = f"{order}{value_count}{layout}"
        tags[tag] = reader.unpack(layout, entry + 8 if struct.calcsize(layout) <= 4 else offset)
    return tags, reader.unpack(f"{order}I", at + 2 + 12 * count)[0]


def _one(reader: Reader, tags: dict[int, tuple[int, ...]], tag: int, default: int) -> int:
    values = tags.get(tag, (default,))
    if len(values) != 1:
        raise reader.damaged("a tag of its header has too many values")
    return values[0]
