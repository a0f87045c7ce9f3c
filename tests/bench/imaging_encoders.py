# SPDX-License-Identifier: Apache-2.0
"""Encoders that a Python service can have, on a 12-megapixel cutout and alpha: CPU time and size.

Run: python tests/bench/imaging_encoders.py. Uses pyvips and zlib_ng where they are installed
(pip install pyvips pyvips-binary zlib-ng); neither is a dependency.
"""

import importlib
import io
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from isal import isal_zlib
from matting_gateway.domain.photo import FileEncoding
from matting_gateway.imaging.writers.encode import encode_file
from matting_gateway.imaging.writers.png import encode_png
from matting_pixels.compose import cutout
from matting_pixels.fit import resize
from PIL import Image
from testkit.photos import ellipse, sample_photo

WIDTH, HEIGHT = 4000, 3000
UP, SUB = 2, 1


def measure(name: str, work: Callable[[], Any], rounds: int = 3) -> None:
    best, size = float("inf"), 0
    for _ in range(rounds):
        start = time.process_time()
        size = len(work())
        best = min(best, time.process_time() - start)
    print(f"{name:44s} {best * 1e3:7.0f} ms {size / 1e6:8.2f} MB", flush=True)


def pillow(pixels: np.ndarray, image_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, image_format, **options)
    return out.getvalue()


def filtered(pixels: np.ndarray, kind: int) -> np.ndarray:
    rows, step = pixels.reshape(pixels.shape[0], -1), pixels.shape[2]
    out = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    out[:, 0] = kind
    if kind == UP:
        out[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=out[1:, 1:])
    else:
        out[:, 1 : 1 + step] = rows[:, :step]
        np.subtract(rows[:, step:], rows[:, :-step], out=out[:, 1 + step :])
    return out


def filtered_and_packed(rgba: np.ndarray, kind: int, level: int) -> bytes:
    return bytes(isal_zlib.compress(filtered(rgba, kind), level))


def png_encoders(rgba: np.ndarray) -> None:
    for level in (1, 2, 6):
        measure(f"PNG, Pillow level {level}", partial(pillow, rgba, "PNG", compress_level=level), 1)
    measure(
        "PNG, Pillow level 1, run lengths",
        lambda: pillow(rgba, "PNG", compress_level=1, compress_type=zlib.Z_RLE),
        1,
    )
    bgra = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
    measure("PNG, OpenCV level 1", lambda: cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1], 1)
    for name, kind in (("UP", UP), ("SUB", SUB)):
        for level in (0, 1, 3):
            measure(
                f"PNG, {name} + igzip level {level}",
                partial(filtered_and_packed, rgba, kind, level),
            )
    measure("PNG, chosen (UP + igzip level 1, in strips)", lambda: encode_png(rgba))
    optional("zlib_ng.zlib_ng", lambda ng: measure("PNG, UP + zlib-ng 2", lambda: ng.compress(filtered(rgba, UP), 2)))
    optional("pyvips", lambda vips: vips_encoders(vips, rgba))


def vips_encoders(vips: Any, rgba: np.ndarray) -> None:
    image = vips.Image.new_from_memory(rgba.tobytes(), WIDTH, HEIGHT, 4, "uchar")
    measure("PNG, libvips level 1, SUB", lambda: image.pngsave_buffer(compression=1, filter="sub"), 1)
    measure("PNG, libvips level 6, SUB", lambda: image.pngsave_buffer(compression=6, filter="sub"), 1)
    measure("WebP, libvips effort 0", lambda: image.webpsave_buffer(Q=85, effort=0), 1)


def optional(module: str, work: Callable[[Any], None]) -> None:
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        print(f"({module} is not installed)")
        return
    work(loaded)


def main() -> None:
    cv2.setNumThreads(1)
    alpha = resize(ellipse(320, 320, 0.46), WIDTH, HEIGHT)
    rgba = cutout(sample_photo(WIDTH, HEIGHT), alpha)
    png_encoders(rgba)
    measure("alpha PNG, Pillow level 1", lambda: pillow(alpha, "PNG", compress_level=1))
    measure("alpha PNG, Pillow level 6", lambda: pillow(alpha, "PNG", compress_level=6))
    measure("alpha PNG, chosen", lambda: encode_png(alpha))
    for method in (0, 1):
        measure(f"WebP, libwebp method {method}", partial(pillow, rgba, "WEBP", quality=85, method=method))
    measure("WebP, chosen", lambda: encode_file(rgba, FileEncoding("image/webp"), 85))
    measure("WebP lossless, chosen", lambda: encode_file(rgba, FileEncoding("image/webp", lossless=True), 85))
    for speed in (8, 9, 10):
        measure(
            f"AVIF, speed {speed}",
            partial(pillow, rgba, "AVIF", quality=85, speed=speed, max_threads=1),
            1,
        )
    measure("AVIF, chosen (speed 9)", lambda: encode_file(rgba, FileEncoding("image/avif"), 85))


if __name__ == "__main__":
    main()
