# SPDX-License-Identifier: Apache-2.0
"""Photos for tests and measurements: a real sample where there is one, else a synthetic picture like one."""

import io
import pathlib

import cv2
import numpy as np
from matting_gateway.imaging.worker.decode import register_heif
from numpy.typing import NDArray
from PIL import Image

_SAMPLES = pathlib.Path(__file__).parents[2] / ".cache" / "samples"


def sample_photo(width_px: int, height_px: int, path: pathlib.Path | None = None) -> NDArray[np.uint8]:
    """Return a photo uint8 RGB [H, W, 3] of the size wanted, with the noise of a camera."""
    source = path or _SAMPLES / "astronaut.png"
    rng = np.random.default_rng(0)
    if source.exists():
        with Image.open(source) as image:
            pixels = np.asarray(image.convert("RGB"))
    else:
        pixels = rng.integers(0, 255, (24, 32, 3), np.uint8)
    large = cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    large += rng.normal(0, 2, (height_px, width_px, 1)).astype(np.float32)
    return np.clip(np.rint(large), 0, 255).astype(np.uint8)


def ellipse(width_px: int, height_px: int, area_share: float) -> NDArray[np.uint8]:
    """Return an alpha uint8 [H, W]: an ellipse of that share of the picture with an edge a few pixels soft."""
    rows, columns = np.mgrid[:height_px, :width_px].astype(np.float32)
    radius = float(np.sqrt(area_share / np.pi))
    distance = np.hypot((columns + 0.5) / width_px - 0.5, (rows + 0.5) / height_px - 0.5) / radius
    alpha: NDArray[np.uint8] = np.rint(np.clip((1 - distance) * 30 + 0.5, 0, 1) * 255).astype(np.uint8)
    return alpha


def photo_files(width_px: int, height_px: int, *names: str) -> dict[str, bytes]:
    """Return the sample photo as a file of every format whose way through a decoder differs, or of those named."""
    color = Image.fromarray(sample_photo(width_px, height_px))
    clear = color.copy()
    clear.putalpha(Image.fromarray(ellipse(width_px, height_px, 0.7)))
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {}
    for name, image, image_format, options in (
        ("JPEG", color, "JPEG", {"quality": 90}),
        ("JPEG, turned", color, "JPEG", {"quality": 90, "exif": turned}),
        ("JPEG, progressive", color, "JPEG", {"quality": 90, "progressive": True}),
        ("JPEG, progressive, 4:4:4", color, "JPEG", {"quality": 90, "progressive": True, "subsampling": 0}),
        ("JPEG, progressive, 4:2:2", color, "JPEG", {"quality": 90, "progressive": True, "subsampling": 1}),
        ("JPEG, progressive, RGB", color, "JPEG", {"quality": 90, "progressive": True, "keep_rgb": True}),
        ("JPEG, progressive, CMYK", color.convert("CMYK"), "JPEG", {"quality": 90, "progressive": True}),
        ("JPEG, CMYK", color.convert("CMYK"), "JPEG", {"quality": 90}),
        ("PNG", color, "PNG", {"compress_level": 1}),
        ("PNG, alpha", clear, "PNG", {"compress_level": 1}),
        ("PNG, palette", color.quantize(64, Image.Quantize.FASTOCTREE), "PNG", {"compress_level": 1}),
        ("WebP", color, "WEBP", {"method": 0}),
        ("WebP, alpha", clear, "WEBP", {"method": 0}),
        ("WebP, lossless", color, "WEBP", {"method": 0, "lossless": True, "quality": 0}),
        ("AVIF", color, "AVIF", {"speed": 10}),
        ("AVIF, alpha", clear, "AVIF", {"speed": 10}),
        ("HEIC", color, "HEIF", {"enc_params": {"preset": "ultrafast"}}),
        ("HEIC, alpha", clear, "HEIF", {"enc_params": {"preset": "ultrafast"}}),
    ):
        if (not names or name in names) and (image_format != "HEIF" or register_heif()):
            out = io.BytesIO()
            image.save(out, image_format, **options)
            files[name] = out.getvalue()
    if not names or "PNG, 16 bits" in names:
        deep = np.asarray(color)[..., ::-1].astype(np.uint16) * 257
        files["PNG, 16 bits"] = cv2.imencode(".png", deep, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return files
