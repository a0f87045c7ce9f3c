# SPDX-License-Identifier: Apache-2.0
"""Files of HEIF items: boxes written, and the boxes of a small file that an encoder wrote read back.

Knows boxes and no pictures. ISO/IEC 14496-12 (ISOBMFF) has the boxes `ftyp`, `meta`, `hdlr`, `pitm`, `iloc`, `iinf`,
`iref` (8.11) and `mdat`, ISO/IEC 23008-12 (HEIF) the properties `iprp`, `ipco`, `ipma` (9.3).
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

_HEADER_BYTES = 8
_VERSION_BYTES = 4
# Offsets and lengths of four bytes each, no base offset (iloc, 8.11.3).
_ILOC_SIZES = b"\x44\x00"
_HIDDEN = 1
_ESSENTIAL_BIT = 0x80
# What a reader that does not know them cannot do without.
_ESSENTIAL_KINDS = frozenset({b"av1C"})


class HeifError(ValueError):
    """A file that is not laid out as an encoder of one picture does it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a file.

    Attributes:
        kind: Its type, four letters.
        data: What it holds.
        properties: Its property boxes, whole; equal ones are written once.
        references: The items that it refers to, by type of reference and number, which counts from 1.
        is_hidden: Whether it is only there for others.
    """

    kind: bytes
    data: bytes
    properties: Sequence[bytes]
    references: Mapping[bytes, Sequence[int]] = field(default_factory=dict)
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class SinglePicture:
    """What a file of one item holds: its `ftyp` box, its properties by kind, its data."""

    file_type: bytes
    properties: Mapping[bytes, bytes]
    data: bytes


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box (ISO/IEC 14496-12, 4.2)."""
    return b"".join((struct.pack(">I4s", _HEADER_BYTES + sum(map(len, parts)), kind), *parts))


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return a box that says its version."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def write_file(file_type: bytes, items: Sequence[Item]) -> bytes:
    """Return the file of some items, of which the first is the one that is shown.

    Args:
        file_type: Its `ftyp` box, whole.
        items: At most 65,535, with 4 GiB of data and 127 different properties between them.
    """
    media = struct.pack(">I4s", _HEADER_BYTES + sum(len(item.data) for item in items), b"mdat")
    # Where the data lies is a matter of how long the description is, whatever offsets that gives.
    start = len(file_type) + len(_describe(items, 0)) + len(media)
    return b"".join((file_type, _describe(items, start), media, *(item.data for item in items)))


def read_single(content: bytes) -> SinglePicture:
    """Take apart a file of one item as libavif writes it.

    Raises:
        HeifError: It is laid out otherwise.
    """
    try:
        top = dict(_boxes(content, 0, len(content)))
        file_type, meta = top[b"ftyp"], top[b"meta"]
        described = dict(_boxes(content, meta.start + _HEADER_BYTES + _VERSION_BYTES, meta.stop))
        location = described[b"iloc"].start + _HEADER_BYTES
        layout = content[location : location + 8]
        _, _, count, offset, length = struct.unpack_from(">HHHII", content, location + 8)
        if layout != b"\0\0\0\0" + _ILOC_SIZES + b"\0\1" or count != 1 or offset + length > len(content):
            raise HeifError("a file of one picture is laid out in an unknown way")
        groups = dict(_boxes(content, described[b"iprp"].start + _HEADER_BYTES, described[b"iprp"].stop))
        stored = _boxes(content, groups[b"ipco"].start + _HEADER_BYTES, groups[b"ipco"].stop)
        properties = {kind: content[place] for kind, place in stored}
    except (KeyError, struct.error) as error:
        raise HeifError("a file of one picture lacks a box") from error
    return SinglePicture(content[file_type], properties, content[offset : offset + length])


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, slice]]:
    while at < end:
        size, kind = struct.unpack_from(">I4s", content, at)
        if size < _HEADER_BYTES or at + size > end:
            raise HeifError("a box has an impossible length")
        yield kind, slice(at, at + size)
        at += size


def _describe(items: Sequence[Item], start: int) -> bytes:
    """Return the `meta` box of items whose data lies one after another from an offset of the file on."""
    numbered = list(enumerate(items, 1))
    offsets = accumulate((len(item.data) for item in items), initial=start)
    places = [
        struct.pack(">HHHII", number, 0, 1, offset, len(item.data))
        for (number, item), offset in zip(numbered, offsets, strict=False)
    ]
    entries = [
        full_box(b"infe", struct.pack(">HH4sx", number, 0, item.kind), version=2, flags=_HIDDEN * item.is_hidden)
        for number, item in numbered
    ]
    references = [
        box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
        for number, item in numbered
        for kind, targets in item.references.items()
    ]
    count = struct.pack(">H", len(items))
    return full_box(
        b"meta",
        full_box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict")),
        full_box(b"pitm", struct.pack(">H", 1)),
        full_box(b"iloc", _ILOC_SIZES, count, *places),
        full_box(b"iinf", count, *entries),
        *([full_box(b"iref", *references)] if references else []),
        _properties(items),
    )


def _properties(items: Sequence[Item]) -> bytes:
    """Return the `iprp` box: each property once, and which item has which (version 0: at most 127 of them)."""
    stored = list(dict.fromkeys(box for item in items for box in item.properties))
    indices = {box: index | _ESSENTIAL_BIT * (box[4:8] in _ESSENTIAL_KINDS) for index, box in enumerate(stored, 1)}
    associations = [
        struct.pack(">HB", number, len(item.properties)) + bytes(indices[box] for box in item.properties)
        for number, item in enumerate(items, 1)
    ]
    return box(
        b"iprp",
        box(b"ipco", *stored),
        full_box(b"ipma", struct.pack(">I", len(items)), *associations),
    )
