# SPDX-License-Identifier: Apache-2.0
"""The sample photo as a file of every format whose way through a decoder differs."""

import io

import cv2
import numpy as np
from matting_gateway.imaging.worker.decode import register_heif
from PIL import Image

from testkit.photos import ellipse, sample_photo


def photo_files(width_px: int, height_px: int, *names: str) -> dict[str, bytes]:
    """Return the sample photo as a file of every format whose way through a decoder differs, or of those named."""
    color = Image.fromarray(sample_photo(width_px, height_px))

    def clear() -> Image.Image:
        image = color.copy()
        image.putalpha(Image.fromarray(ellipse(width_px, height_px, 0.7)))
        return image

    def opaque() -> Image.Image:
        return color

    def inks() -> Image.Image:
        return color.convert("CMYK")

    def palette() -> Image.Image:
        return color.quantize(64, Image.Quantize.FASTOCTREE)

    turned = Image.Exif()
    turned[0x0112] = 6
    files = {}
    for name, image_of, image_format, options in (
        ("JPEG", opaque, "JPEG", {"quality": 90}),
        ("JPEG, turned", opaque, "JPEG", {"quality": 90, "exif": turned}),
        ("JPEG, progressive", opaque, "JPEG", {"quality": 90, "progressive": True}),
        ("JPEG, progressive, 4:4:4", opaque, "JPEG", {"quality": 90, "progressive": True, "subsampling": 0}),
        ("JPEG, progressive, 4:2:2", opaque, "JPEG", {"quality": 90, "progressive": True, "subsampling": 1}),
        ("JPEG, progressive, RGB", opaque, "JPEG", {"quality": 90, "progressive": True, "keep_rgb": True}),
        ("JPEG, progressive, CMYK", inks, "JPEG", {"quality": 90, "progressive": True}),
        ("JPEG, CMYK", inks, "JPEG", {"quality": 90}),
        ("PNG", opaque, "PNG", {"compress_level": 1}),
        ("PNG, alpha", clear, "PNG", {"compress_level": 1}),
        ("PNG, palette", palette, "PNG", {"compress_level": 1}),
        ("WebP", opaque, "WEBP", {"method": 0}),
        ("WebP, alpha", clear, "WEBP", {"method": 0}),
        ("WebP, lossless", opaque, "WEBP", {"method": 0, "lossless": True, "quality": 0}),
        ("AVIF", opaque, "AVIF", {"speed": 10}),
        ("AVIF, alpha", clear, "AVIF", {"speed": 10}),
        ("HEIC", opaque, "HEIF", {"enc_params": {"preset": "ultrafast"}}),
        ("HEIC, alpha", clear, "HEIF", {"enc_params": {"preset": "ultrafast"}}),
    ):
        if (not names or name in names) and (image_format != "HEIF" or register_heif()):
            out = io.BytesIO()
            image_of().save(out, image_format, **options)
            files[name] = out.getvalue()
    if not names or "PNG, 16 bits" in names:
        deep = np.asarray(color)[..., ::-1].astype(np.uint16) * 257
        files["PNG, 16 bits"] = cv2.imencode(".png", deep, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return files
