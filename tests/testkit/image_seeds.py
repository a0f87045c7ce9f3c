# SPDX-License-Identifier: Apache-2.0
"""Small honest files of every format, from which hostile ones are made."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from matting_gateway.imaging.formats import ImageFormat
from PIL import Image

from testkit.decoding import ALL_FORMATS
from testkit.pngs import write_png
from testkit.profiles import rgb_profile

_SIDE = 24


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yield (name, file) of every format and of the variants whose parsing differs."""
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = rgb_profile()
    yield from _pillow("JPEG", "RGB", {}, {"progressive": True}, {"exif": exif}, {"icc_profile": profile})
    yield from _pillow("JPEG", "L", {})
    yield from _pillow("JPEG", "CMYK", {})
    yield from _pillow("PNG", "RGBA", {}, {"exif": exif}, {"icc_profile": profile})
    yield from _pillow("PNG", "P", {})
    yield "PNG 16", write_png(_samples(4), 6, 16)
    yield "PNG interlaced", write_png(_samples(3) >> 8, 2, 8, interlaced=True)
    yield "PNG gray 2 tRNS", write_png(_samples(1) >> 14, 0, 2, before=[(b"tRNS", b"\x00\x01")])
    yield from _pillow("WEBP", "RGB", {}, {"lossless": True}, {"exif": exif, "icc_profile": profile})
    yield from _pillow("WEBP", "RGBA", {}, {"lossless": True})
    yield from _pillow("AVIF", "RGBA", {"speed": 10}, {"speed": 10, "exif": exif})
    if ImageFormat.HEIC in ALL_FORMATS:
        yield from _pillow("HEIF", "RGBA", {})
    yield from _pillow("GIF", "P", {})
    yield from _pillow("TIFF", "RGB", {}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"exif": exif})
    yield from _pillow("BMP", "RGB", {})
    yield from _pillow("BMP", "P", {})


def _pillow(image_format: str, mode: str, *variants: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray((_samples(3) >> 8).astype(np.uint8)).convert(mode)
    for number, options in enumerate(variants):
        out = io.BytesIO()
        image.save(out, image_format, **options)
        yield f"{image_format} {mode} {number}", out.getvalue()


def _samples(count: int) -> Any:
    return np.random.default_rng(7).integers(0, 65_536, (_SIDE, _SIDE, count), np.uint16)
