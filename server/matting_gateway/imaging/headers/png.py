# SPDX-License-Identifier: Apache-2.0
"""PNG headers (W3C PNG, third edition)."""

from open_inference.tensors import Buffer

from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.exif import read_orientation
from matting_gateway.imaging.headers.model import EXIF_PARTS, MAX_PARTS, FileHeader, Reader

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ANIMATION_CHUNKS = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PICTURE_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"fcTL", b"fdAT"})
# Deflate never packs better than 1,032 to 1: more pixels than that are promised, not there.
_MAX_PACKING = 1_032


def read_png_header(content: Buffer, max_parts: int = MAX_PARTS) -> FileHeader:
    """Walk all chunks.

    Raises:
        TooManyPartsError: It has more than `max_parts`.
        ImageUnreadableError: Cut off, damaged, or with less picture data than its size needs.
    """
    reader = Reader(content, "PNG", max_parts)
    length, kind = reader.be32(8), reader.bytes(12, 4)
    if length != 13 or kind != b"IHDR":
        raise reader.damaged("it does not start with a header")
    width, height, depth, color, _, _, interlace = reader.unpack(">IIBBBBB", 16)
    if depth not in _BIT_DEPTHS.get(color, ()) or interlace > 1:
        raise reader.damaged("its header has an impossible combination of values")
    facts = _walk(reader)
    sample_count = _SAMPLES[color]
    needed = height * ((width * sample_count * depth + 7) // 8 + 1)
    if facts.picture_bytes * _MAX_PACKING < needed - _MAX_PACKING:
        raise reader.damaged("it holds less picture data than a picture of its size can have")
    transparent_gray = None
    if color == 0 and facts.transparency is not None:
        transparent_gray = reader.be16(facts.transparency)
    return FileHeader(
        format=ImageFormat.PNG,
        width_px=width,
        height_px=height,
        bits_per_sample=depth,
        sample_count=sample_count,
        has_alpha=color in (4, 6) or facts.transparency is not None,
        orientation=facts.orientation,
        frame_count=facts.frame_count,
        animation_spans=tuple(facts.animation_spans) if facts.frame_count == 1 else (),
        metadata_chunks=facts.metadata_chunks,
        metadata_bytes=facts.metadata_bytes,
        profile_spans=facts.profile_spans,
        transparent_gray=transparent_gray,
    )


class _Facts:
    """What the walk over the chunks gathers."""

    def __init__(self) -> None:
        self.picture_bytes = 0
        self.transparency: int | None = None
        self.orientation = 1
        self.frame_count = 1
        self.animation_spans: list[tuple[int, int]] = []
        self.metadata_chunks = 0
        self.metadata_bytes = 0
        self.profile_spans: tuple[tuple[int, int], ...] = ()


def _walk(reader: Reader) -> _Facts:
    facts = _Facts()
    at = 33
    while True:
        reader.count_part()
        length, kind = reader.be32(at), reader.bytes(at + 4, 4)
        body, end = at + 8, at + 8 + length
        if end + 4 > reader.size:
            raise reader.truncated()
        if kind == b"IEND":
            return facts
        if kind == b"IDAT":
            facts.picture_bytes += length
        elif kind not in _PICTURE_CHUNKS:
            facts.metadata_chunks += 1
            facts.metadata_bytes += length
        _note(facts, reader, kind, body, end)
        at = end + 4


def _note(facts: _Facts, reader: Reader, kind: bytes, body: int, end: int) -> None:
    if kind in _ANIMATION_CHUNKS:
        facts.animation_spans.append((body - 8, end + 4))
    if kind == b"tRNS":
        facts.transparency = body
    elif kind == b"acTL" and end - body == 8:
        facts.frame_count = max(1, reader.be32(body))
    elif kind == b"eXIf":
        reader.count_part(EXIF_PARTS)
        facts.orientation = read_orientation(reader.content[body:end])
    elif kind == b"iCCP":
        facts.profile_spans = ((body, end),)
