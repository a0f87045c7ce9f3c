# SPDX-License-Identifier: Apache-2.0
"""Decoded pixels, and the small conversions that every format needs."""

from dataclasses import dataclass

import cv2
import numpy as np
from matting_pixels.arrays import Pixels

from matting_gateway.domain.photo import PixelFormat, RawPhoto

_ROTATIONS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {2: 1, 4: 0}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Decoded:
    """A picture in sRGB: colour [H, W, 3] and its own alpha [H, W] or None; both uint8 or both uint16."""

    color: Pixels
    alpha: Pixels | None


def orient(pixels: Pixels, orientation: int, out: Pixels | None = None) -> Pixels:
    """Apply an EXIF orientation, 1 to 8, to [H, W] or [H, W, C], into `out` where it is given.

    Without `out` pixels that are the right way up already pass as they are.
    """
    if orientation in _ROTATIONS:
        return cv2.rotate(pixels, _ROTATIONS[orientation], out)
    if orientation in _FLIPS:
        return cv2.flip(pixels, _FLIPS[orientation], out)
    if orientation == 5:
        return cv2.transpose(pixels, out)
    if orientation == 7:
        turned = cv2.transpose(pixels, out)
        return cv2.flip(turned, -1, turned)
    return pixels


def to_8_bit(pixels: Pixels) -> Pixels:
    """Bring 16-bit samples to 8 bits, rounded; 8-bit ones pass as they are."""
    if pixels.dtype == np.uint8:
        return pixels.view(np.uint8)
    return cv2.convertScaleAbs(pixels, alpha=1.0 / 257.0)


def to_16_bit(pixels: Pixels) -> Pixels:
    """Bring 8-bit samples to 16 bits; 16-bit ones pass as they are."""
    if pixels.dtype == np.uint16:
        return pixels.view(np.uint16)
    return pixels.astype(np.uint16) * np.uint16(257)


def from_raw(photo: RawPhoto) -> Decoded:
    """View or convert rows of pixels, whose length is checked already."""
    kind = photo.pixel_format
    dtype = np.dtype("<u2") if kind.bytes_per_sample == 2 else np.dtype(np.uint8)
    rows: Pixels = np.frombuffer(photo.data, dtype).reshape(photo.height_px, photo.width_px, kind.sample_count)
    if kind in (PixelFormat.GRAY8, PixelFormat.GRAY16):
        return Decoded(cv2.cvtColor(rows, cv2.COLOR_GRAY2RGB), None)
    if kind is PixelFormat.BGR8:
        return Decoded(cv2.cvtColor(rows, cv2.COLOR_BGR2RGB), None)
    if kind in (PixelFormat.RGBA8, PixelFormat.RGBA16):
        return Decoded(np.ascontiguousarray(rows[..., :3]), np.ascontiguousarray(rows[..., 3]))
    return Decoded(rows, None)


def byte_view(pixels: Pixels) -> memoryview:
    """Return the bytes of an array in C order; a copy only where they are not so already."""
    return np.ascontiguousarray(pixels).reshape(-1).view(np.uint8).data
