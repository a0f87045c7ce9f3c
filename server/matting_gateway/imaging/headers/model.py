# SPDX-License-Identifier: Apache-2.0
"""What all header readers share: the result, and bounds-checked reading."""

import struct
from dataclasses import dataclass

from open_inference.tensors import Buffer

from matting_gateway.errors import ImageTooLargeError, ImageUnreadableError
from matting_gateway.imaging.formats import ImageFormat


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says of itself.

    `width_px` and `height_px` are as stored; `orientation` (EXIF, 1 to 8) says how they are shown.
    `sample_count` is the stored samples of a pixel, alpha included. `has_alpha` may be true of a
    file that turns out opaque, never the other way. `coefficient_bytes` is what a decoder must
    hold besides the pixels (progressive JPEG). `profile_spans` are the byte ranges of an embedded ICC
    profile, in order. `transparent_gray` is the one gray (PNG, in the file's own bits) that is
    transparent. `file_bytes` is the length of the whole file.
    """

    format: ImageFormat
    width_px: int
    height_px: int
    bits_per_sample: int = 8
    sample_count: int = 3
    has_alpha: bool = False
    orientation: int = 1
    frame_count: int = 1
    scan_count: int = 1
    coefficient_bytes: int = 0
    metadata_chunks: int = 0
    metadata_bytes: int = 0
    profile_spans: tuple[tuple[int, int], ...] = ()
    animation_spans: tuple[tuple[int, int], ...] = ()
    transparent_gray: int | None = None
    file_bytes: int = 0


# More parts (segments, chunks, boxes) than any honest file has; reading the header of a file made of
# nothing else then takes some hundredths of a second.
MAX_PARTS = 16_384
# Fewer have most honest files, and to read their headers takes less than a hand-over to a thread and back.
FEW_PARTS = 256
# To look for the orientation in EXIF takes as long as so many parts.
EXIF_PARTS = 16


class TooManyPartsError(ImageTooLargeError):
    """A file has more parts than were to be looked at."""


class Reader:
    """Integers out of a buffer; reading past its end means a file that is cut off.

    The work is bounded, and on the event loop more closely than in a thread: whoever walks over parts of the file
    counts them.
    """

    __slots__ = ("_parts_left", "_title", "content", "size")

    def __init__(self, content: Buffer, title: str, max_parts: int = MAX_PARTS) -> None:
        self.content = memoryview(content)
        self.size = len(content)
        self._title = title
        self._parts_left = max_parts

    def count_part(self, takes_parts: int = 1) -> None:
        """Count one part, which takes as long to look at as so many do.

        Raises:
            TooManyPartsError: The file has more parts than are accepted.
        """
        self._parts_left -= takes_parts
        if self._parts_left < 0:
            raise TooManyPartsError(f"The {self._title} file is made of too many parts: write it anew.")

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        if at < 0 or at + struct.calcsize(layout) > self.size:
            raise self.truncated()
        return struct.unpack_from(layout, self.content, at)

    def u8(self, at: int) -> int:
        return self.unpack("B", at)[0]

    def be16(self, at: int) -> int:
        return self.unpack(">H", at)[0]

    def be32(self, at: int) -> int:
        return self.unpack(">I", at)[0]

    def le16(self, at: int) -> int:
        return self.unpack("<H", at)[0]

    def le24(self, at: int) -> int:
        low, high = self.unpack("<HB", at)
        return low | high << 16

    def le32(self, at: int) -> int:
        return self.unpack("<I", at)[0]

    def bytes(self, at: int, length: int) -> bytes:
        if at < 0 or length < 0 or at + length > self.size:
            raise self.truncated()
        return bytes(self.content[at : at + length])

    def truncated(self) -> ImageUnreadableError:
        return ImageUnreadableError(f"The {self._title} file is cut off: send the whole file.")

    def damaged(self, what: str) -> ImageUnreadableError:
        return ImageUnreadableError(f"The {self._title} file is damaged: {what}.")
