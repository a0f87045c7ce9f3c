# SPDX-License-Identifier: Apache-2.0
"""libavif by its own interface (avif/avif.h), in the library that Pillow brings.

Pillow takes and gives whole pictures, of which it holds two to three copies. Here rows come and go strip by strip,
beside nothing but libavif's own planes, and are the same to the bit. The structures are those of libavif 1.0: later
ones of the same library version (16) only add members at their ends, where they have no names here.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from typing import ClassVar

import numpy as np
from matting_pixels.arrays import Pixels
from PIL import _avif

from matting_gateway.domain import Buffer
from matting_gateway.imaging.png import FillRows

_STRIP_ROWS = 64
# Rows beside a strip that its colour is interpolated from: one of colour, which is two of brightness.
_MARGIN_ROWS = 2
_OUT_OF_MEMORY = 26
_RGBA = 1
_YUV_420, _YUV_400 = 3, 4
_COLOR_PLANES, _ALPHA_PLANE = 1, 2
_BT_709, _SRGB, _BT_601 = 1, 13, 6
# AVIF_STRICT_ALPHA_ISPE_REQUIRED alone: other programs leave the rest out, or write it wrong.
_STRICT_FLAGS = 4


class AvifError(ValueError):
    """A file that libavif cannot read, or a picture that it cannot write."""


class _Data(ctypes.Structure):
    _fields_: ClassVar = [("data", c_void_p), ("size", c_size_t)]


class _Rectangle(ctypes.Structure):
    _fields_: ClassVar = [("x", c_uint32), ("y", c_uint32), ("width", c_uint32), ("height", c_uint32)]


class _Image(ctypes.Structure):
    _fields_: ClassVar = [
        ("width", c_uint32), ("height", c_uint32), ("depth", c_uint32),
        ("yuv_format", c_int), ("yuv_range", c_int), ("chroma_position", c_int),
        ("planes", c_void_p * 3), ("row_bytes", c_uint32 * 3), ("owns_planes", c_int),
        ("alpha", c_void_p), ("alpha_row_bytes", c_uint32), ("owns_alpha", c_int), ("premultiplied", c_int),
        ("icc", _Data), ("primaries", c_uint16), ("transfer", c_uint16), ("matrix", c_uint16),
    ]  # fmt: skip


class _Rgb(ctypes.Structure):
    _fields_: ClassVar = [
        ("width", c_uint32), ("height", c_uint32), ("depth", c_uint32), ("format", c_int), ("upsampling", c_int),
        ("downsampling", c_int), ("avoid_libyuv", c_int), ("ignore_alpha", c_int), ("premultiplied", c_int),
        ("is_float", c_int), ("max_threads", c_int), ("pixels", c_void_p), ("row_bytes", c_uint32),
    ]  # fmt: skip


class _Decoder(ctypes.Structure):
    _fields_: ClassVar = [
        ("codec", c_int), ("max_threads", c_int), ("source", c_int), ("progressive", c_int), ("incremental", c_int),
        ("ignore_exif", c_int), ("ignore_xmp", c_int), ("most_pixels", c_uint32), ("longest_side", c_uint32),
        ("most_images", c_uint32), ("strict_flags", c_uint32), ("image", POINTER(_Image)),
    ]  # fmt: skip


class _Encoder(ctypes.Structure):
    _fields_: ClassVar = [
        ("codec", c_int), ("max_threads", c_int), ("speed", c_int), ("keyframe_interval", c_int),
        ("timescale", c_uint64), ("repetition_count", c_int), ("layers", c_uint32), ("quality", c_int),
        ("alpha_quality", c_int), ("quantizers", c_int * 4), ("tiles", c_int * 2), ("auto_tiling", c_int),
    ]  # fmt: skip


# A symbol is looked up in all that Pillow's module is linked with.
_library = ctypes.CDLL(_avif.__file__)
_library.avifDecoderCreate.restype = POINTER(_Decoder)
_library.avifEncoderCreate.restype = POINTER(_Encoder)
for _name in ("avifImageCreate", "avifImageCreateEmpty"):
    getattr(_library, _name).restype = POINTER(_Image)
_library.avifDecoderSetIOMemory.argtypes = (POINTER(_Decoder), c_void_p, c_size_t)
_library.avifImageSetViewRect.argtypes = (POINTER(_Image), POINTER(_Image), POINTER(_Rectangle))


class OpenPicture:
    """A decoded AVIF while its file is open: planes of libavif's, of which rows are made."""

    def __init__(self, image: _Image) -> None:
        self._image = image
        self.size = int(image.width), int(image.height)
        self.has_alpha = bool(image.alpha)

    def profile(self, max_bytes: int) -> bytes:
        """Return the embedded profile, or nothing where there is none or it is longer."""
        icc = self._image.icc
        return ctypes.string_at(icc.data, icc.size) if 0 < icc.size <= max_bytes else b""

    def read_into(self, color: Pixels, alpha: Pixels | None) -> None:
        """Make its pixels, uint8 [H, W, 3] and [H, W].

        Raises:
            AvifError: They cannot be made.
        """
        width, height = self.size
        strip = np.empty((_STRIP_ROWS + 2 * _MARGIN_ROWS, width, 4), np.uint8)
        for top in range(0, height, _STRIP_ROWS):
            bottom = min(height, top + _STRIP_ROWS)
            first, last = max(0, top - _MARGIN_ROWS), min(height, bottom + _MARGIN_ROWS)
            with _view(self._image, first, last, strip) as (view, rgb):
                _check(_library.avifImageYUVToRGB(view, ctypes.byref(rgb)))
            rows = strip[top - first : bottom - first]
            color[top:bottom] = rows[..., :3]
            if alpha is not None:
                alpha[top:bottom] = rows[..., 3]


@contextmanager
def open_avif(content: Buffer) -> Iterator[OpenPicture]:
    """Decode the first picture of a file, within the block.

    Raises:
        AvifError: Cut off or damaged.
        MemoryError: More is needed than may be taken.
    """
    source = np.frombuffer(content, np.uint8)
    decoder = _library.avifDecoderCreate()
    if not decoder:
        raise MemoryError
    try:
        decoder.contents.strict_flags = _STRICT_FLAGS
        _check(_library.avifDecoderSetIOMemory(decoder, source.ctypes.data, source.size))
        _check(_library.avifDecoderParse(decoder))
        _check(_library.avifDecoderNthImage(decoder, 0))
        yield OpenPicture(decoder.contents.image.contents)
    finally:
        _library.avifDecoderDestroy(decoder)


def encode_avif_rows(
    width: int, height: int, fill: FillRows, *, has_alpha: bool, is_gray: bool, quality: int, speed: int
) -> bytes:
    """Write an AVIF in sRGB, 4:2:0 or gray, whose rows of uint8 RGBA are made when they are needed.

    Raises:
        AvifError: It cannot be written.
        MemoryError: More is needed than may be taken.
    """
    image = _library.avifImageCreate(width, height, 8, _YUV_400 if is_gray else _YUV_420)
    encoder = _library.avifEncoderCreate()
    packed = _Data()
    try:
        if not image or not encoder:
            raise MemoryError
        colors, settings = image.contents, encoder.contents
        colors.primaries, colors.transfer, colors.matrix = _BT_709, _SRGB, _BT_601
        settings.max_threads, settings.auto_tiling, settings.speed, settings.quality = 1, 1, speed, quality
        _check(_library.avifImageAllocatePlanes(image, _COLOR_PLANES | _ALPHA_PLANE * has_alpha))
        strip = np.empty((min(_STRIP_ROWS, height), width, 4), np.uint8)
        for top in range(0, height, _STRIP_ROWS):
            bottom = min(height, top + _STRIP_ROWS)
            fill(strip[: bottom - top], top)
            with _view(colors, top, bottom, strip) as (view, rgb):
                rgb.ignore_alpha = not has_alpha
                _check(_library.avifImageRGBToYUV(view, ctypes.byref(rgb)))
        _check(_library.avifEncoderWrite(encoder, image, ctypes.byref(packed)))
        return ctypes.string_at(packed.data, packed.size)
    finally:
        _library.avifRWDataFree(ctypes.byref(packed))
        _library.avifEncoderDestroy(encoder)
        _library.avifImageDestroy(image)


@contextmanager
def _view(image: _Image, top: int, bottom: int, rows: Pixels) -> Iterator[tuple[object, _Rgb]]:
    """Lend the planes of some rows, and pixels RGBA [>= bottom - top, W, 4] to go with them."""
    view = _library.avifImageCreateEmpty()
    if not view:
        raise MemoryError
    try:
        rectangle = _Rectangle(0, top, image.width, bottom - top)
        _check(_library.avifImageSetViewRect(view, ctypes.byref(image), ctypes.byref(rectangle)))
        rgb = _Rgb()
        _library.avifRGBImageSetDefaults(ctypes.byref(rgb), view)
        rgb.depth, rgb.format, rgb.pixels, rgb.row_bytes = 8, _RGBA, rows.ctypes.data, rows.strides[0]
        yield view, rgb
    finally:
        # A conversion into planes takes them for its own.
        view.contents.owns_planes = view.contents.owns_alpha = 0
        _library.avifImageDestroy(view)


def _check(result: int) -> None:
    if result == _OUT_OF_MEMORY:
        raise MemoryError
    if result:
        raise AvifError(f"libavif answered {result}")
