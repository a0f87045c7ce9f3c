# SPDX-License-Identifier: Apache-2.0
"""GIF headers (GIF89a specification)."""

from open_inference.tensors import Buffer

from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader, Reader

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9
# Frames past this are not counted: every sensible limit is lower.
_MAX_COUNTED_FRAMES = 10_000
# A sub-block has at most 255 bytes.
_MAX_PARTS = 262_144


def read_gif_header(content: Buffer) -> FileHeader:
    """Walk all blocks.

    Raises:
        ImageUnreadableError: Cut off before the end of the first frame, damaged, or without a frame.
    """
    reader = Reader(content, "GIF", _MAX_PARTS)
    width, height, flags = reader.unpack("<HHB", 6)
    at = 13 + _table_bytes(flags)
    frame_count, metadata_chunks, metadata_bytes, has_alpha = 0, 0, 0, False
    while at < reader.size and frame_count < _MAX_COUNTED_FRAMES:
        reader.count_part()
        block = reader.u8(at)
        if block == _TRAILER:
            break
        if block == _EXTENSION:
            if reader.u8(at + 1) == _GRAPHIC_CONTROL:
                has_alpha = has_alpha or bool(reader.u8(at + 3) & 1)
                at, _ = _skip_sub_blocks(reader, at + 2)
            else:
                at, length = _skip_sub_blocks(reader, at + 2)
                metadata_chunks += 1
                metadata_bytes += length
        elif block == _IMAGE:
            left, top, frame_width, frame_height, flags = reader.unpack("<HHHHB", at + 1)
            if left + frame_width > width or top + frame_height > height:
                raise reader.damaged("a frame reaches beyond the picture")
            if frame_count and at + 10 >= reader.size:
                break
            at, _ = _skip_sub_blocks(reader, at + 10 + _table_bytes(flags) + 1)
            frame_count += 1
        else:
            raise reader.damaged("it has an unknown block")
    if frame_count == 0:
        raise reader.truncated()
    return FileHeader(
        format=ImageFormat.GIF,
        width_px=width,
        height_px=height,
        sample_count=1,
        has_alpha=has_alpha,
        frame_count=frame_count,
        metadata_chunks=metadata_chunks,
        metadata_bytes=metadata_bytes,
    )


def _table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_sub_blocks(reader: Reader, at: int) -> tuple[int, int]:
    """Return where the chain of sub-blocks ends, and its length."""
    start = at
    while (length := reader.u8(at)) != 0:
        reader.count_part()
        at += 1 + length
    return at + 1, at + 1 - start
