# SPDX-License-Identifier: Apache-2.0
"""AVIF and HEIC headers (ISO/IEC 23008-12 over ISO/IEC 14496-12)."""

from collections.abc import Iterator
from typing import NamedTuple

from open_inference.tensors import Buffer

from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader, Reader

_SEQUENCE_BRANDS = frozenset({b"avis", b"msf1", b"hevc", b"hevx"})
_MAX_BOXES = 4_096
_ALPHA_TYPES = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
# (rotation counter-clockwise in quarter turns, mirror axis or None) to the EXIF orientation of the same effect.
_ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


class _Box(NamedTuple):
    kind: bytes
    body: int
    end: int


def read_isobmff_header(content: Buffer, image_format: ImageFormat) -> FileHeader:
    """Read the size and orientation of the primary item.

    Raises:
        ImageUnreadableError: Cut off, damaged, or without a primary picture.
    """
    reader = Reader(content, image_format.title)
    top = list(_boxes(reader, 0, reader.size, 4))
    meta = _find(top, b"meta")
    if meta is None:
        raise reader.damaged("it has no picture description")
    inside = list(_boxes(reader, meta.body + 4, meta.end))
    primary = _primary_item(reader, inside)
    properties = _properties_of(reader, inside, primary)
    size: tuple[int, int] | None = None
    aperture: tuple[int, int] | None = None
    bits, turns, mirror = 8, 0, None
    for box in properties:
        if box.kind == b"ispe":
            width, height = reader.unpack(">II", box.body + 4)
            size = (width, height)
        elif box.kind == b"pixi":
            bits = max((reader.u8(box.body + 5 + index) for index in range(reader.u8(box.body + 4))), default=8)
        elif box.kind == b"clap" and image_format is ImageFormat.HEIC:
            aperture = _aperture(reader, box)
        elif box.kind == b"irot":
            turns = reader.u8(box.body) & 3
        elif box.kind == b"imir":
            mirror = reader.u8(box.body) & 1
    if size is None:
        raise reader.damaged("its picture has no size")
    orientation = _ORIENTATIONS[turns, mirror]
    if image_format is ImageFormat.HEIC:
        # Its decoder cuts and turns the picture by itself.
        size = aperture or size
        size, orientation = (size[1], size[0]) if turns & 1 else size, 1
    return FileHeader(
        format=image_format,
        width_px=size[0],
        height_px=size[1],
        bits_per_sample=bits,
        has_alpha=_mentions_alpha(reader, inside),
        orientation=orientation,
        frame_count=2 if _is_sequence(reader, top) else 1,
        metadata_chunks=len(top),
    )


def _aperture(reader: Reader, box: _Box) -> tuple[int, int]:
    """Return the size of a clean aperture, which is two fractions."""
    width, width_unit, height, height_unit = reader.unpack(">IIII", box.body)
    if width_unit == 0 or height_unit == 0:
        raise reader.damaged("its clean aperture divides by zero")
    return width // width_unit, height // height_unit


def _boxes(reader: Reader, at: int, end: int, minimum: int = 0) -> Iterator[_Box]:
    """Yield the boxes between two offsets."""
    count = 0
    while at + 8 <= end:
        size, kind, header = reader.be32(at), reader.bytes(at + 4, 4), 8
        if size == 1:
            size, header = reader.unpack(">Q", at + 8)[0], 16
        elif size == 0:
            size = end - at
        if size < header:
            raise reader.damaged("a box has an impossible length")
        if at + size > end:
            raise reader.truncated()
        count += 1
        reader.count_part()
        yield _Box(kind, at + header, at + size)
        at += size
    if count < 1 and minimum:
        raise reader.truncated()


def _find(boxes: list[_Box], kind: bytes) -> _Box | None:
    return next((box for box in boxes if box.kind == kind), None)


def _primary_item(reader: Reader, inside: list[_Box]) -> int:
    box = _find(inside, b"pitm")
    if box is None:
        raise reader.damaged("it names no primary picture")
    return reader.be16(box.body + 4) if reader.u8(box.body) == 0 else reader.be32(box.body + 4)


def _properties_of(reader: Reader, inside: list[_Box], item: int) -> list[_Box]:
    """Return the property boxes associated with an item (`ipco` and `ipma`)."""
    container = _find(inside, b"iprp")
    if container is None:
        raise reader.damaged("its picture has no properties")
    parts = list(_boxes(reader, container.body, container.end))
    store = _find(parts, b"ipco")
    if store is None:
        raise reader.damaged("its picture has no properties")
    properties = list(_boxes(reader, store.body, store.end))
    return [
        properties[index - 1]
        for box in parts
        if box.kind == b"ipma"
        for index in _associations(reader, box, item)
        if 1 <= index <= len(properties)
    ]


def _associations(reader: Reader, box: _Box, wanted: int) -> Iterator[int]:
    version, flags = reader.u8(box.body), reader.be32(box.body) & 0xFFFFFF
    at = box.body + 8
    for _ in range(min(reader.be32(box.body + 4), _MAX_BOXES)):
        item = reader.be16(at) if version < 1 else reader.be32(at)
        at += 2 if version < 1 else 4
        count = reader.u8(at)
        at += 1
        for _ in range(count):
            reader.count_part()
            value = reader.be16(at) & 0x7FFF if flags & 1 else reader.u8(at) & 0x7F
            at += 2 if flags & 1 else 1
            if item == wanted:
                yield value


def _mentions_alpha(reader: Reader, inside: list[_Box]) -> bool:
    container = _find(inside, b"iprp")
    if container is None:
        return False
    region = bytes(reader.content[container.body : min(container.end, container.body + 65_536)])
    return any(name in region for name in _ALPHA_TYPES)


def _is_sequence(reader: Reader, top: list[_Box]) -> bool:
    first = top[0]
    return first.kind == b"ftyp" and reader.bytes(first.body, 4) in _SEQUENCE_BRANDS
