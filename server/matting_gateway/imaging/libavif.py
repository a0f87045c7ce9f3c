# SPDX-License-Identifier: Apache-2.0
"""libavif by its own interface (avif/avif.h), in the library that Pillow brings.

Pillow takes and gives whole pictures, of which it holds two to three copies. Rows that come and go strip by strip need
nothing but libavif's own planes. The structures are those of libavif 1.0: later ones of the same library version (16)
only add members at their ends, where they have no names here.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from typing import ClassVar

from matting_pixels.arrays import Pixels
from PIL import _avif

# Even, as two rows share their colour.
STRIP_ROWS = 64
_OUT_OF_MEMORY = 26
_RGBA = 1


class AvifError(ValueError):
    """A file that libavif cannot read, or a picture that it cannot write."""


class Data(ctypes.Structure):
    """avifRWData."""

    _fields_: ClassVar = [("data", c_void_p), ("size", c_size_t)]


class Rectangle(ctypes.Structure):
    """avifCropRect, in pixels."""

    _fields_: ClassVar = [("x", c_uint32), ("y", c_uint32), ("width", c_uint32), ("height", c_uint32)]


class Image(ctypes.Structure):
    """avifImage."""

    _fields_: ClassVar = [
        ("width", c_uint32), ("height", c_uint32), ("depth", c_uint32),
        ("yuv_format", c_int), ("yuv_range", c_int), ("chroma_position", c_int),
        ("planes", c_void_p * 3), ("row_bytes", c_uint32 * 3), ("owns_planes", c_int),
        ("alpha", c_void_p), ("alpha_row_bytes", c_uint32), ("owns_alpha", c_int), ("premultiplied", c_int),
        ("icc", Data), ("primaries", c_uint16), ("transfer", c_uint16), ("matrix", c_uint16),
    ]  # fmt: skip


class Rgb(ctypes.Structure):
    """avifRGBImage."""

    _fields_: ClassVar = [
        ("width", c_uint32), ("height", c_uint32), ("depth", c_uint32), ("format", c_int), ("upsampling", c_int),
        ("downsampling", c_int), ("avoid_libyuv", c_int), ("ignore_alpha", c_int), ("premultiplied", c_int),
        ("is_float", c_int), ("max_threads", c_int), ("pixels", c_void_p), ("row_bytes", c_uint32),
    ]  # fmt: skip


class Decoder(ctypes.Structure):
    """avifDecoder."""

    _fields_: ClassVar = [
        ("codec", c_int), ("max_threads", c_int), ("source", c_int), ("progressive", c_int), ("incremental", c_int),
        ("ignore_exif", c_int), ("ignore_xmp", c_int), ("most_pixels", c_uint32), ("longest_side", c_uint32),
        ("most_images", c_uint32), ("strict_flags", c_uint32), ("image", POINTER(Image)),
    ]  # fmt: skip


class Encoder(ctypes.Structure):
    """avifEncoder."""

    _fields_: ClassVar = [
        ("codec", c_int), ("max_threads", c_int), ("speed", c_int), ("keyframe_interval", c_int),
        ("timescale", c_uint64), ("repetition_count", c_int), ("layers", c_uint32), ("quality", c_int),
        ("alpha_quality", c_int), ("quantizers", c_int * 4), ("tiles", c_int * 2), ("auto_tiling", c_int),
    ]  # fmt: skip


# A symbol is looked up in all that Pillow's module is linked with.
library = ctypes.CDLL(_avif.__file__)
library.avifDecoderCreate.restype = POINTER(Decoder)
library.avifEncoderCreate.restype = POINTER(Encoder)
for _name in ("avifImageCreate", "avifImageCreateEmpty"):
    getattr(library, _name).restype = POINTER(Image)
library.avifDecoderSetIOMemory.argtypes = (POINTER(Decoder), c_void_p, c_size_t)
library.avifEncoderSetCodecSpecificOption.argtypes = (POINTER(Encoder), c_char_p, c_char_p)
library.avifImageSetViewRect.argtypes = (POINTER(Image), POINTER(Image), POINTER(Rectangle))


@contextmanager
def part_of(image: Image, area: Rectangle) -> Iterator["ctypes._Pointer[Image]"]:
    """Lend the planes of a part of a picture, as a picture of its own.

    Raises:
        MemoryError: More is needed than may be taken.
        AvifError: The part is outside, or begins between two pixels of colour.
    """
    part: ctypes._Pointer[Image] = library.avifImageCreateEmpty()
    if not part:
        raise MemoryError
    try:
        check(library.avifImageSetViewRect(part, ctypes.byref(image), ctypes.byref(area)))
        yield part
    finally:
        # A conversion into planes takes them for its own.
        part.contents.owns_planes = part.contents.owns_alpha = 0
        library.avifImageDestroy(part)


def rows_for(picture: "ctypes._Pointer[Image]", rows: Pixels) -> Rgb:
    """Return what libavif knows rows of uint8 RGBA [>= height, >= width, 4] by, which must outlive it."""
    rgb = Rgb()
    library.avifRGBImageSetDefaults(ctypes.byref(rgb), picture)
    rgb.depth, rgb.format, rgb.pixels, rgb.row_bytes = 8, _RGBA, rows.ctypes.data, rows.strides[0]
    return rgb


def check(result: int) -> None:
    """Raise what one of libavif's functions answered.

    Raises:
        MemoryError: It got no memory.
        AvifError: It failed otherwise.
    """
    if result == _OUT_OF_MEMORY:
        raise MemoryError
    if result:
        raise AvifError(f"libavif answered {result}")
