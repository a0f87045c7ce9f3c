# SPDX-License-Identifier: Apache-2.0
"""WebP headers (RFC 9649)."""

from dataclasses import dataclass

from open_inference.tensors import Buffer

from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.exif import read_orientation
from matting_gateway.imaging.headers.model import EXIF_PARTS, MAX_PARTS, FileHeader, Reader

_ALPHA_FLAG, _ANIMATION_FLAG = 0x10, 0x02


@dataclass(slots=True)
class _Facts:
    """What the walk over the chunks gathers."""

    canvas: tuple[int, int] | None = None
    picture: tuple[int, int] | None = None
    has_alpha: bool = False
    animated: bool = False
    orientation: int = 1
    frame_count: int = 0
    metadata_chunks: int = 0
    metadata_bytes: int = 0
    profile_spans: tuple[tuple[int, int], ...] = ()


def read_webp_header(content: Buffer, max_parts: int = MAX_PARTS) -> FileHeader:
    """Walk all chunks.

    Raises:
        TooManyPartsError: It has more than `max_parts`.
        ImageUnreadableError: Cut off, damaged, or without a picture.
    """
    reader = Reader(content, "WebP", max_parts)
    end_of_file = reader.le32(4) + 8
    if end_of_file > reader.size:
        raise reader.truncated()
    facts = _Facts()
    at = 12
    while at + 8 <= end_of_file:
        reader.count_part()
        kind, length = reader.bytes(at, 4), reader.le32(at + 4)
        if at + 8 + length > reader.size:
            raise reader.truncated()
        _note(facts, reader, kind, at + 8, at + 8 + length)
        at += 8 + length + (length & 1)
    size = facts.canvas or facts.picture
    if size is None:
        raise reader.damaged("it has no picture")
    if not facts.animated and facts.picture != size:
        raise reader.damaged("its header and its picture differ in size")
    return FileHeader(
        format=ImageFormat.WEBP,
        width_px=size[0],
        height_px=size[1],
        sample_count=4 if facts.has_alpha else 3,
        has_alpha=facts.has_alpha,
        orientation=facts.orientation,
        frame_count=max(2, facts.frame_count) if facts.animated else 1,
        metadata_chunks=facts.metadata_chunks,
        metadata_bytes=facts.metadata_bytes,
        profile_spans=facts.profile_spans,
    )


def _note(facts: _Facts, reader: Reader, kind: bytes, body: int, end: int) -> None:
    if kind == b"VP8X":
        flags = reader.u8(body)
        facts.canvas = (reader.le24(body + 4) + 1, reader.le24(body + 7) + 1)
        facts.has_alpha |= bool(flags & _ALPHA_FLAG)
        facts.animated |= bool(flags & _ANIMATION_FLAG)
    elif kind in (b"VP8 ", b"VP8L"):
        if facts.picture is None:
            width, height, alpha = _picture(reader, kind, body)
            facts.picture = (width, height)
            facts.has_alpha |= alpha
    elif kind == b"ANMF":
        facts.frame_count += 1
    elif kind == b"ALPH":
        facts.has_alpha = True
    else:
        facts.metadata_chunks += 1
        facts.metadata_bytes += end - body
        if kind == b"ICCP":
            facts.profile_spans = ((body, end),)
        elif kind == b"EXIF":
            reader.count_part(EXIF_PARTS)
            facts.orientation = read_orientation(reader.content[body:end])


def _picture(reader: Reader, kind: bytes, body: int) -> tuple[int, int, bool]:
    """Return width, height, and whether the picture chunk itself may hold alpha."""
    if kind == b"VP8 ":
        if reader.bytes(body + 3, 3) != b"\x9d\x01\x2a":
            raise reader.damaged("its picture has no start code")
        return reader.le16(body + 6) & 0x3FFF, reader.le16(body + 8) & 0x3FFF, False
    if reader.u8(body) != 0x2F:
        raise reader.damaged("its picture has no signature")
    bits = reader.le32(body + 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
