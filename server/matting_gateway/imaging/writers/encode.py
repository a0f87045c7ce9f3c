# SPDX-License-Identifier: Apache-2.0
"""Pixels to files: which writer makes which media type, at which setting, and what each can hold."""

import io

import cv2
import numpy as np
import simplejpeg
from matting_pixels.arrays import Pixels
from matting_pixels.compose import cutout, cutout_rows
from PIL import Image

from matting_gateway.domain.photo import FileEncoding
from matting_gateway.errors import InternalError
from matting_gateway.imaging.color.pixels import to_8_bit
from matting_gateway.imaging.color.profile import srgb_profile
from matting_gateway.imaging.media_types import AVIF, JPEG, PNG
from matting_gateway.imaging.writers.png import encode_png, encode_png_rows
from matting_gateway.imaging.writers.webp import encode_webp_rows

# What every JPEG begins with: its first marker and the segment JFIF.
_JFIF_BYTES = 20
_AVIF_SPEED = 9


def encode_cutout(color: Pixels, alpha: Pixels, encoding: FileEncoding, default_quality: int) -> bytes:
    """Write a cutout of colour [H, W, 3] and alpha [H, W] of one dtype, tagged sRGB and without any other metadata.

    The rows are joined when they are needed, so that the RGBA picture never exists as a whole.

    Raises:
        InternalError: The writer failed, which is never the caller's fault.
    """
    height, width = alpha.shape

    def fill(out: Pixels, top: int) -> None:
        rows = slice(top, top + out.shape[0])
        cutout_rows(color[rows], alpha[rows], out)

    if encoding.mime_type == PNG:
        return encode_png_rows(width, height, 4, color.dtype, fill)
    quality = encoding.quality or default_quality
    if encoding.mime_type == AVIF:
        return _encode_avif(cutout(color, alpha), quality)
    return encode_webp_rows(width, height, fill, alpha, None if encoding.lossless else quality)


def encode_file(pixels: Pixels, encoding: FileEncoding, default_quality: int) -> bytes:
    """Write [H, W] or [H, W, 3], or [H, W, 4] where the format has alpha, tagged sRGB and with no other metadata.

    Raises:
        InternalError: The writer failed, which is never the caller's fault.
    """
    if encoding.mime_type == PNG:
        return encode_png(pixels)
    pixels = np.ascontiguousarray(to_8_bit(pixels))
    quality = encoding.quality or default_quality
    if encoding.mime_type == JPEG:
        return _encode_jpeg(pixels, quality)
    if encoding.mime_type == AVIF:
        return _encode_avif(pixels, quality)
    height, width = pixels.shape[:2]
    is_gray = pixels.ndim == 2
    has_alpha = not is_gray and pixels.shape[2] == 4
    to_rgba = cv2.COLOR_GRAY2RGBA if is_gray else cv2.COLOR_RGB2RGBA

    def fill(out: Pixels, top: int) -> None:
        rows = pixels[top : top + out.shape[0]]
        if has_alpha:
            out[:] = rows
        else:
            cv2.cvtColor(rows, to_rgba, out)

    alpha = pixels[..., 3] if has_alpha else None
    return encode_webp_rows(width, height, fill, alpha, None if encoding.lossless else quality)


def _encode_avif(pixels: Pixels, quality: int) -> bytes:
    out = io.BytesIO()
    try:
        Image.fromarray(pixels).save(out, "AVIF", quality=quality, speed=_AVIF_SPEED, max_threads=1)
    except (OSError, ValueError) as error:
        raise InternalError("The image/avif writer failed.") from error
    return out.getvalue()


def _encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Write it by simplejpeg, which reads the pixels where they lie, and put the profile behind its first segment."""
    is_gray = pixels.ndim == 2
    try:
        content = simplejpeg.encode_jpeg(
            pixels[..., None] if is_gray else pixels, quality, *(("GRAY", "Gray") if is_gray else ("RGB", "420")), False
        )
    except ValueError as error:
        raise InternalError("The image/jpeg writer failed.") from error
    profile = b"" if is_gray else b"ICC_PROFILE\x00\x01\x01" + srgb_profile()
    segment = b"\xff\xe2" + (len(profile) + 2).to_bytes(2, "big") + profile if profile else b""
    return b"".join((content[:_JFIF_BYTES], segment, memoryview(content)[_JFIF_BYTES:]))
