# SPDX-License-Identifier: Apache-2.0
"""The pictures an int8 form is calibrated with: each photo whole, and crops of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from matting_models.trials.engines import Pixels
from matting_models.trials.pictures import at_size, open_photo

_SMALLEST_CROP_SHARE = 0.5


def calibration_pictures(
    paths: Sequence[Path], sides_px: tuple[int, int], crops_per_photo: int, seed: int
) -> list[Pixels]:
    """For each photo itself and `crops_per_photo` crops of at least half its sides, half of them mirrored.

    What is cropped depends on the seed and the photo's place in the list alone.
    """
    pictures = []
    for index, path in enumerate(paths):
        rng = np.random.default_rng([seed, index])
        photo = open_photo(path)
        pictures.append(at_size(photo, sides_px))
        pictures += [at_size(_crop(photo, rng), sides_px) for _ in range(crops_per_photo)]
    return pictures


def _crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(_SMALLEST_CROP_SHARE, 1.0)
    width, height = max(1, int(photo.width * share)), max(1, int(photo.height * share))
    left = int(rng.integers(0, photo.width - width + 1))
    top = int(rng.integers(0, photo.height - height + 1))
    crop = photo.crop((left, top, left + width, top + height))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop
