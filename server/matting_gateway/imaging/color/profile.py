# SPDX-License-Identifier: Apache-2.0
"""Embedded ICC profiles to sRGB."""

import io
import zlib
from functools import lru_cache

import numpy as np
from matting_pixels.arrays import Pixels
from open_inference.tensors import Buffer
from PIL import Image, ImageCms

from matting_gateway.errors import ImageTooLargeError
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader

_STRIP_ROWS = 256
_SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}
_SRGB_MARKS = (b"sRGB", b"s\x00R\x00G\x00B")


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return a small sRGB profile, for formats that name a colour space by profile only."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def extract_profile(content: Buffer, header: FileHeader, max_bytes: int) -> bytes:
    """Return the embedded profile, or nothing where there is none or it is damaged.

    Raises:
        ImageTooLargeError: The profile unpacks to more than `max_bytes`.
    """
    view = memoryview(content)
    stored = b"".join(bytes(view[start:end]) for start, end in header.profile_spans)
    if header.format is not ImageFormat.PNG or not stored:
        return stored
    _, _, packed = stored.partition(b"\x00")
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(packed[1:], max_bytes)
    except zlib.error:
        return b""
    if unpacker.unconsumed_tail:
        raise ImageTooLargeError(f"The colour profile unpacks to more than the {max_bytes:,} bytes that are accepted.")
    return profile


def is_convertible(profile: bytes, mode: str) -> bool:
    """Whether a profile describes pixels of this Pillow mode in another space than sRGB."""
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[16:20] != _SPACES.get(mode):
        return False
    return mode != "RGB" or not any(mark in profile[:4096] for mark in _SRGB_MARKS)


def profile_to_srgb(pixels: Pixels, profile: bytes, mode: str, out: Pixels) -> Pixels:
    """Convert uint8 [H, W] (mode L), [H, W, 3] (RGB) or [H, W, 4] (CMYK) to sRGB, into `out` uint8 [H, W, 3].

    A profile that the colour engine refuses is taken as sRGB: RGB stays as it is, the others are converted by
    Pillow. Works in strips; `out` may lie where `pixels` does. Returns `out`.
    """
    transform = _transform(profile, mode)
    for top in range(0, pixels.shape[0], _STRIP_ROWS):
        strip = Image.fromarray(np.ascontiguousarray(pixels[top : top + _STRIP_ROWS]), mode)
        converted = strip.convert("RGB") if transform is None else ImageCms.applyTransform(strip, transform)
        out[top : top + _STRIP_ROWS] = np.asarray(converted)
    return out


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
