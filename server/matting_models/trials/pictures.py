# SPDX-License-Identifier: Apache-2.0
"""Test pictures: photos from files brought to a network's size, and synthetic ones that provoke mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from matting_models.errors import ModelsError
from matting_models.trials.engines import Pixels

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def photo_paths(places: Sequence[Path]) -> list[Path]:
    """The picture files named, and those in the folders named, sorted by name.

    Raises:
        ModelsError: there is none.
    """
    found: list[Path] = []
    for place in places:
        inside = place.iterdir() if place.is_dir() else [place]
        found += sorted(path for path in inside if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise ModelsError(f"No photos ({', '.join(sorted(_SUFFIXES))}) in {', '.join(map(str, places))}.")
    return found


def open_photo(path: Path) -> Image.Image:
    """A photo as RGB, upright, on white where it was transparent.

    Raises:
        ModelsError: it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, UnidentifiedImageError) as exc:
        raise ModelsError(f"{path} is not a picture that can be read.") from exc
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    white.alpha_composite(picture)
    return white.convert("RGB")


def at_size(picture: Image.Image, sides_px: tuple[int, int]) -> Pixels:
    """The picture as uint8 [H, W, 3] of these (height, width), stretched, as rembg resizes it."""
    return np.asarray(picture.resize((sides_px[1], sides_px[0]), Image.Resampling.LANCZOS), np.uint8)


def synthetic(sides_px: tuple[int, int], seed: int = 0) -> dict[str, Pixels]:
    """Pictures by name: constant ones, noise, a bright dot, a dark subject on a gradient."""
    height, width = sides_px
    rng = np.random.default_rng(seed)
    shape = (height, width, 3)
    rows, columns = np.mgrid[0:height, 0:width]
    disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 4) ** 2
    gradient = np.repeat((columns * 255 // max(1, width - 1)).astype(np.uint8)[:, :, None], 3, axis=2)
    dot = np.zeros(shape, np.uint8)
    dot[height // 2, width // 2] = 255
    subject = gradient.copy()
    subject[disc] = (40, 20, 60)
    return {
        "subject": subject,
        "noise": rng.integers(0, 256, shape, np.uint8),
        "dark noise": rng.integers(0, 12, shape, np.uint8),
        "dot": dot,
        "black": np.zeros(shape, np.uint8),
        "grey": np.full(shape, 128, np.uint8),
        "white": np.full(shape, 255, np.uint8),
    }
