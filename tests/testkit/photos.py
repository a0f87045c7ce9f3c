# SPDX-License-Identifier: Apache-2.0
"""Photos for tests and measurements: a real sample where there is one, else a synthetic picture like one."""

import pathlib

import cv2
import numpy as np
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
