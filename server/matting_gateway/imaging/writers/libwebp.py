# SPDX-License-Identifier: Apache-2.0
"""libwebp by its own interface (webp/encode.h), in the library that Pillow brings.

Pillow hands libwebp a whole picture in ARGB, of which it then makes the planes of brightness and colour that it packs.
Planes filled strip by strip are all that it needs, and the file comes out the same to the bit.
"""

import ctypes
import io
from ctypes import POINTER, c_float, c_int, c_size_t, c_uint32, c_void_p
from typing import ClassVar

import numpy as np
from matting_pixels.arrays import Pixels
from PIL import _webp

from matting_gateway.errors import InternalError
from matting_gateway.imaging.writers.png import FillRows

_ABI_VERSION = 0x0210
_DEFAULT_PRESET = 0
_HAS_ALPHA = 4
_PARTITION_OVERFLOW = 7
# As the logarithm of their number.
_MOST_PARTITIONS = 3
# Even, as two rows share their colour.
_STRIP_ROWS = 64


class _Config(ctypes.Structure):
    """WebPConfig; what has no name here keeps what libwebp sets."""

    _fields_: ClassVar = [
        ("lossless", c_int), ("quality", c_float), ("method", c_int), ("to_partitions", c_int * 15),
        ("partitions", c_int), ("others", c_int * 10),
    ]  # fmt: skip


class _Picture(ctypes.Structure):
    """WebPPicture."""


_Writer = ctypes.CFUNCTYPE(c_int, c_void_p, c_size_t, POINTER(_Picture))
_Picture._fields_ = [
    ("use_argb", c_int), ("colorspace", c_int), ("width", c_int), ("height", c_int),
    ("y", c_void_p), ("u", c_void_p), ("v", c_void_p), ("y_stride", c_int), ("uv_stride", c_int),
    ("a", c_void_p), ("a_stride", c_int), ("pad1", c_uint32 * 2),
    ("argb", c_void_p), ("argb_stride", c_int), ("pad2", c_uint32 * 3),
    ("writer", _Writer), ("custom_ptr", c_void_p), ("extra_info_type", c_int), ("extra_info", c_void_p),
    ("stats", c_void_p), ("error_code", c_int), ("progress_hook", c_void_p), ("user_data", c_void_p),
    ("pad3", c_uint32 * 3), ("pad4", c_void_p), ("pad5", c_void_p), ("pad6", c_uint32 * 8),
    ("memory", c_void_p), ("memory_argb", c_void_p), ("pad7", c_void_p * 2),
]  # fmt: skip

# A symbol is looked up in all that Pillow's module is linked with.
_library = ctypes.CDLL(_webp.__file__)
_library.WebPConfigInitInternal.argtypes = (POINTER(_Config), c_int, c_float, c_int)
_library.WebPPictureInitInternal.argtypes = (POINTER(_Picture), c_int)
_library.WebPPictureImportRGBA.argtypes = (POINTER(_Picture), c_void_p, c_int)
_library.WebPPictureFree.argtypes = (POINTER(_Picture),)
_library.WebPCleanupTransparentArea.argtypes = (POINTER(_Picture),)
_library.WebPEncode.argtypes = (POINTER(_Config), POINTER(_Picture))


def encode_color(width: int, height: int, fill: FillRows, alpha: Pixels | None, quality: int) -> bytes:
    """Return a WebP file of the colour of a picture by libwebp's fastest method; what is transparent is left out.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        fill: Makes rows of uint8 RGBA when they are needed.
        alpha: uint8 [height, width] of the whole picture; None where all is opaque.
        quality: 1 to 100.

    Raises:
        InternalError: libwebp failed, or is one of another interface.
    """
    luma = np.empty((height, width), np.uint8)
    chroma = np.empty((2, -(-height // 2), -(-width // 2)), np.uint8)
    strip = np.empty((min(_STRIP_ROWS, height), width, 4), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        rows = strip[: height - top]
        fill(rows, top)
        _to_planes(rows, luma[top : top + _STRIP_ROWS], chroma[:, top // 2 : (top + _STRIP_ROWS) // 2])
    picture = _new_picture(width, height)
    picture.y, picture.u, picture.v = luma.ctypes.data, chroma[0].ctypes.data, chroma[1].ctypes.data
    picture.y_stride, picture.uv_stride = luma.strides[0], chroma.strides[1]
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
        picture.colorspace, picture.a, picture.a_stride = _HAS_ALPHA, alpha.ctypes.data, alpha.strides[0]
        _library.WebPCleanupTransparentArea(picture)
        picture.colorspace, picture.a = 0, None
    return _encode(picture, quality)


def _to_planes(rows: Pixels, luma: Pixels, chroma: Pixels) -> None:
    """Convert rows RGBA [h, W, 4] to the planes of [h, W] and [2, h / 2, W / 2]."""
    height, width = luma.shape
    picture = _new_picture(width, height)
    try:
        _check(_library.WebPPictureImportRGBA(picture, rows.ctypes.data, rows.strides[0]))
        luma[:] = _view(picture.y, height, picture.y_stride)[:, :width]
        for plane, address in zip(chroma, (picture.u, picture.v), strict=True):
            plane[:] = _view(address, plane.shape[0], picture.uv_stride)[:, : plane.shape[1]]
    finally:
        _library.WebPPictureFree(picture)


def _encode(picture: _Picture, quality: int) -> bytes:
    config = _Config()
    _check(_library.WebPConfigInitInternal(config, _DEFAULT_PRESET, quality, _ABI_VERSION))
    config.method = 0
    out = io.BytesIO()

    def write(address: int, byte_count: int, _: object) -> int:
        return out.write((ctypes.c_char * byte_count).from_address(address)) == byte_count

    picture.writer = _Writer(write)
    if not _library.WebPEncode(config, picture) and picture.error_code == _PARTITION_OVERFLOW:
        # One part of a file holds 16 MB at the most; as a rule the whole is in one.
        config.partitions = _MOST_PARTITIONS
        picture.error_code = 0
        out = io.BytesIO()
        _check(_library.WebPEncode(config, picture))
    _check(not picture.error_code)
    return out.getvalue()


def _new_picture(width: int, height: int) -> _Picture:
    picture = _Picture()
    _check(_library.WebPPictureInitInternal(picture, _ABI_VERSION))
    picture.width, picture.height = width, height
    return picture


def _view(address: int, height: int, stride: int) -> Pixels:
    return np.ctypeslib.as_array(ctypes.cast(address, POINTER(ctypes.c_ubyte)), (height, stride))


def _check(succeeded: int) -> None:
    if not succeeded:
        raise InternalError("The image/webp writer failed.")
