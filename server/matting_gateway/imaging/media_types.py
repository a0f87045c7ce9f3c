# SPDX-License-Identifier: Apache-2.0
"""The media types and rows of pixels that are written, and what each of them can hold."""

import math
from collections.abc import Sequence

from matting_gateway.domain.photo import FileEncoding, OutputKind, OutputSpec, PixelFormat
from matting_gateway.errors import OptionInvalidError

PNG, WEBP, JPEG, AVIF = "image/png", "image/webp", "image/jpeg", "image/avif"
MIME_TYPES = (PNG, WEBP, JPEG, AVIF)

# The longest side that a format can say.
_MAX_SIDES_PX = {PNG: (1 << 31) - 1, WEBP: 16_383, JPEG: 65_500, AVIF: 65_536}
# An AVIF encoder takes some 35 bytes for each pixel, where other writers take one to six.
MAX_AVIF_PIXELS = 4 << 20
_NATURAL_FORMATS = {
    OutputKind.ALPHA: PixelFormat.GRAY8,
    OutputKind.CUTOUT: PixelFormat.RGBA8,
    OutputKind.COMPOSITE: PixelFormat.RGB8,
}


def natural_format(kind: OutputKind) -> PixelFormat:
    """Return how rows of pixels are written where the request leaves it open."""
    return _NATURAL_FORMATS[kind]


def can_be_deep(encoding: FileEncoding) -> bool:
    """Whether a file of this encoding can hold 16-bit samples."""
    return encoding.mime_type == PNG


def check_side(encoding: FileEncoding, width_px: int, height_px: int, field: str) -> None:
    """Refuse a result that the format cannot hold.

    Raises:
        OptionInvalidError: A side is too long for the format.
    """
    limit = _MAX_SIDES_PX[encoding.mime_type]
    if max(width_px, height_px) > limit:
        raise OptionInvalidError(
            f"A result of {width_px:,} by {height_px:,} pixels does not fit in {encoding.mime_type}, whose sides end "
            f"at {limit:,}: set max_side_px, or ask for another encoding.",
            field=field,
        )


def check_areas(outputs: Sequence[OutputSpec], width_px: int, height_px: int) -> None:
    """Refuse results of a photo of this size that would take unreasonable memory to write.

    A crop plays no part, as nobody knows before the model what it leaves.

    Raises:
        OptionInvalidError: One is to be an AVIF of too many pixels.
    """
    for index, output in enumerate(outputs):
        if not isinstance(output.encoding, FileEncoding) or output.encoding.mime_type != AVIF:
            continue
        longest = max(width_px, height_px)
        scale = min(1.0, output.max_side_px / longest) if output.max_side_px else 1.0
        if width_px * height_px * scale * scale > MAX_AVIF_PIXELS:
            side = math.isqrt(MAX_AVIF_PIXELS * longest // min(width_px, height_px))
            raise OptionInvalidError(
                f"An AVIF of {width_px * height_px * scale * scale:,.0f} pixels would take too much memory to write; "
                f"at most {MAX_AVIF_PIXELS:,} are written: ask for image/webp, or set max_side_px to {side:,} or less.",
                field=f"outputs[{index}].encoded.mime_type",
            )
