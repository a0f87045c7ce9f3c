# SPDX-License-Identifier: Apache-2.0
"""JPEG headers (ITU-T T.81, annex B)."""

import itertools
import re
from dataclasses import dataclass, field

from open_inference.tensors import Buffer

from matting_gateway.errors import ImageFormatUnsupportedError
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.exif import read_orientation
from matting_gateway.imaging.headers.model import EXIF_PARTS, MAX_PARTS, FileHeader, Reader

_SOS, _EOI = 0xDA, 0xD9
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODABLE_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = 0xC2
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_ICC = b"ICC_PROFILE\x00"
# A marker is found behind whatever is no marker, as by libjpeg; an honest file has little of that.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MAX_JUNK_BYTES = 64 << 10
# Inside scans a 0xFF is followed by 0x00 or by a marker, so this finds every scan; so many no file has.
_SCAN = re.compile(rb"\xff\xda")
_MANY_SCANS = 4096
# Looked through at once: other threads have their turn in between.
_PIECE_BYTES = 1 << 20
# So much of it takes as long as one part.
_PART_BYTES, _MOST_SCAN_PARTS = 4 << 10, 1024


@dataclass(slots=True)
class _Facts:
    """What the walk over the segments gathers. `frame` is the marker and the body's offset."""

    frame: tuple[int, int] | None = None
    orientation: int = 1
    metadata_chunks: int = 0
    metadata_bytes: int = 0
    junk_left_bytes: int = _MAX_JUNK_BYTES
    profile: dict[int, tuple[int, int]] = field(default_factory=dict)


def read_jpeg_header(content: Buffer, max_parts: int = MAX_PARTS) -> FileHeader:
    """Read everything before the first scan.

    Raises:
        TooManyPartsError: It has more than `max_parts`.
        ImageUnreadableError: Cut off, damaged, or without a frame.
        ImageFormatUnsupportedError: A kind of JPEG that hardly anybody writes (lossless, arithmetic, 12 bit).
    """
    reader = Reader(content, "JPEG", max_parts)
    facts = _Facts()
    at = 2
    while True:
        marker, at = _next_marker(reader, facts, at)
        if marker == _EOI:
            raise reader.damaged("it ends before any picture data")
        length = reader.be16(at)
        if length < 2:
            raise reader.damaged("a segment has an impossible length")
        if at + length > reader.size:
            raise reader.truncated()
        if marker == _SOS:
            return _describe(reader, facts, reader.u8(at + 2))
        _note(facts, reader, marker, at + 2, at + length)
        at += length


def _note(facts: _Facts, reader: Reader, marker: int, body: int, end: int) -> None:
    if marker in _FRAME_MARKERS:
        if facts.frame is not None:
            raise reader.damaged("it has more than one frame")
        facts.frame = (marker, body)
    elif marker >= 0xE0:
        facts.metadata_chunks += 1
        facts.metadata_bytes += end - body
        if marker == 0xE1 and bytes(reader.content[body : body + 6]) == b"Exif\x00\x00":
            reader.count_part(EXIF_PARTS)
            facts.orientation = read_orientation(reader.content[body:end])
        elif marker == 0xE2 and bytes(reader.content[body : body + 12]) == _ICC and end >= body + 14:
            facts.profile[reader.u8(body + 12)] = (body + 14, end)


def _next_marker(reader: Reader, facts: _Facts, at: int) -> tuple[int, int]:
    """Return the next marker with a body (or end of image), and where its body starts."""
    while True:
        reader.count_part()
        found = _MARKER.search(reader.content, at, at + facts.junk_left_bytes + 2)
        if found is None and at + facts.junk_left_bytes + 2 < reader.size:
            raise reader.damaged("a marker is missing where one must be")
        if found is None:
            raise reader.truncated()
        facts.junk_left_bytes -= found.start() - at
        marker, at = reader.u8(found.start() + 1), found.end()
        if marker not in _STANDALONE:
            return marker, at


def _count_scans(reader: Reader) -> int:
    content, count = reader.content, 0
    # Where it is a matter of time at all, so that it never limits what is read in a thread.
    reader.count_part(min(len(content) // _PART_BYTES, _MOST_SCAN_PARTS))
    for start in range(0, len(content), _PIECE_BYTES):
        found = _SCAN.finditer(content, start, start + _PIECE_BYTES + 1)
        count += sum(1 for _ in itertools.islice(found, _MANY_SCANS))
        if count >= _MANY_SCANS:
            break
    return count


def _describe(reader: Reader, facts: _Facts, scanned_components: int) -> FileHeader:
    if facts.frame is None:
        raise reader.damaged("it has no frame header")
    marker, body = facts.frame
    precision, height, width, component_count = reader.unpack(">BHHB", body)
    if marker not in _DECODABLE_FRAMES or precision != 8:
        raise ImageFormatUnsupportedError(
            "This kind of JPEG (lossless, hierarchical, arithmetic or 12-bit) is not accepted: "
            "send a baseline or progressive JPEG of 8 bits."
        )
    if component_count not in (1, 3, 4):
        raise reader.damaged(f"it has {component_count} components, where 1, 3 or 4 are possible")
    sampling = [reader.u8(body + 7 + 3 * index) for index in range(component_count)]
    if any(not 1 <= value >> 4 <= 4 or not 1 <= value & 15 <= 4 for value in sampling):
        raise reader.damaged("it has an impossible sampling factor")
    widest = max(value >> 4 for value in sampling) * max(value & 15 for value in sampling)
    mcu_blocks = sum((value >> 4) * (value & 15) for value in sampling)
    scan_count, coefficient_bytes = 1, 0
    # A decoder reads on past the first scan, and holds coefficients until then, in these cases only.
    if marker == _PROGRESSIVE or scanned_components < component_count:
        scan_count = _count_scans(reader)
        coefficient_bytes = 2 * (width + 32) * (height + 32) * mcu_blocks // widest
    return FileHeader(
        format=ImageFormat.JPEG,
        width_px=width,
        height_px=height,
        sample_count=component_count,
        orientation=facts.orientation,
        scan_count=scan_count,
        coefficient_bytes=coefficient_bytes,
        metadata_chunks=facts.metadata_chunks,
        metadata_bytes=facts.metadata_bytes,
        profile_spans=tuple(span for _, span in sorted(facts.profile.items())),
    )
