# SPDX-License-Identifier: Apache-2.0
"""Pixels to files: which writer makes which media type, at which setting, and what each can hold."""

import io
from typing import Any

import numpy as np
from matting_pixels.arrays import Pixels
from PIL import Image

from matting_gateway.domain import FileEncoding
from matting_gateway.errors import InternalError, OptionInvalidError
from matting_gateway.imaging.pixels import to_8_bit
from matting_gateway.imaging.png import encode_png
from matting_gateway.imaging.profile import srgb_profile

PNG, WEBP, JPEG, AVIF = "image/png", "image/webp", "image/jpeg", "image/avif"
MIME_TYPES = (PNG, WEBP, JPEG, AVIF)

# The longest side that a format can say.
MAX_SIDES_PX = {PNG: (1 << 31) - 1, WEBP: 16_383, JPEG: 65_500, AVIF: 65_536}

_WEBP_ALPHA_QUALITY = 100
_AVIF_SPEED = 9


def can_be_deep(encoding: FileEncoding) -> bool:
    """Whether a file of this encoding can hold 16-bit samples."""
    return encoding.mime_type == PNG


def check_side(encoding: FileEncoding, width_px: int, height_px: int, field: str) -> None:
    """Refuse a result that the format cannot hold.

    Raises:
        OptionInvalidError: A side is too long for the format.
    """
    limit = MAX_SIDES_PX[encoding.mime_type]
    if max(width_px, height_px) > limit:
        raise OptionInvalidError(
            f"A result of {width_px:,} by {height_px:,} pixels does not fit in {encoding.mime_type}, whose sides end "
            f"at {limit:,}: set max_side_px, or ask for another encoding.",
            field=field,
        )


def encode_file(pixels: Pixels, encoding: FileEncoding, default_quality: int) -> bytes:
    """Write [H, W], [H, W, 3] or [H, W, 4] as a file tagged sRGB and without any other metadata.

    Raises:
        InternalError: The writer failed, which is never the caller's fault.
    """
    if encoding.mime_type == PNG:
        return encode_png(pixels)
    quality = encoding.quality or default_quality
    image = Image.fromarray(np.ascontiguousarray(to_8_bit(pixels)))
    out = io.BytesIO()
    try:
        image.save(out, **_options(image, encoding, quality))
    except (OSError, ValueError) as error:
        raise InternalError(f"The {encoding.mime_type} writer failed.") from error
    return out.getvalue()


def _options(image: Image.Image, encoding: FileEncoding, quality: int) -> dict[str, Any]:
    if encoding.mime_type == JPEG:
        profile = None if image.mode == "L" else srgb_profile()
        return {"format": "JPEG", "quality": quality, "icc_profile": profile}
    if encoding.mime_type == AVIF:
        return {"format": "AVIF", "quality": quality, "speed": _AVIF_SPEED, "max_threads": 1}
    # An absent profile means sRGB in WebP (RFC 9649, 2.7.1.4).
    options: dict[str, Any] = {"format": "WEBP", "method": 0, "exact": False}
    if encoding.lossless:
        return {**options, "lossless": True, "quality": 0}
    return {**options, "quality": quality, "alpha_quality": _WEBP_ALPHA_QUALITY}
