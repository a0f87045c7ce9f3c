# SPDX-License-Identifier: Apache-2.0
"""AVIF: what is written and read, and the memory that writing is said to take."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import CropSpec, FileEncoding, OutputKind, OutputSpec
from matting_gateway.errors import ImageUnreadableError, OptionInvalidError
from matting_gateway.imaging.media_types import MAX_AVIF_PIXELS, check_areas
from matting_gateway.imaging.memory import working_bytes
from matting_gateway.imaging.writers.encode import encode_cutout, encode_file
from matting_pixels.fit import resize
from PIL import Image
from testkit.decoding import prepared
from testkit.long_runs import short_or_long
from testkit.photos import ellipse, sample_photo

AVIF = FileEncoding("image/avif")
QUALITY = 85


def shown(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image).astype(int)


def mean_square(first: np.ndarray, second: np.ndarray) -> float:
    return float(((first - second) ** 2).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(65, 129), (333, 517), (640, 480)])
def test_what_is_written_shows_the_picture(width: int, height: int) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    for pixels in (color, alpha, np.dstack([color, alpha])):
        written = shown(encode_file(pixels, AVIF, QUALITY))
        if pixels.ndim == 2:
            written = written[..., 0] if written.ndim == 3 else written
        assert mean_square(written, pixels[..., : written.shape[-1]] if pixels.ndim == 3 else pixels) < 80


def test_the_colour_under_alpha_0_is_blank() -> None:
    color = np.full((200, 300, 3), 255, np.uint8)
    alpha = np.zeros((200, 300), np.uint8)
    alpha[:, :64] = 255
    written = shown(encode_cutout(color, alpha, AVIF, QUALITY))
    assert written[:, 80:, :3].max() <= 2
    assert written[:, 80:, 3].max() == 0


def test_a_file_cut_off_in_its_picture_is_refused_in_words() -> None:
    content = encode_file(sample_photo(65, 129), AVIF, QUALITY)
    with pytest.raises(ImageUnreadableError, match="AVIF"):
        prepared(content[:-200])


def test_a_result_of_too_many_pixels_is_refused_with_what_to_do_instead() -> None:
    large = OutputSpec(kind=OutputKind.CUTOUT, encoding=AVIF)
    with pytest.raises(OptionInvalidError, match=r"image/webp, or set max_side_px to 2,364 or less") as refused:
        check_areas((OutputSpec(), large), 4000, 3000)
    assert refused.value.field == "outputs[1].encoded.mime_type"
    # What a crop leaves is not known before the model has answered.
    with pytest.raises(OptionInvalidError):
        check_areas((OutputSpec(kind=OutputKind.CUTOUT, encoding=AVIF, crop=CropSpec()),), 4000, 3000)
    check_areas((OutputSpec(kind=OutputKind.CUTOUT, encoding=AVIF, max_side_px=2364), OutputSpec()), 4000, 3000)
    check_areas((large,), 2048, MAX_AVIF_PIXELS // 2048)


# In a process of its own: what the tests before this one left in the allocator is no part of what writing takes.
_GROWN = """
import os, sys
import numpy as np
from matting_gateway.imaging.writers.encode import encode_cutout
from matting_gateway.domain.photo import FileEncoding
from testkit.process_memory import PeakMemory
width, height = map(int, sys.argv[1:])
color = np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)
alpha = np.random.default_rng(1).integers(1, 256, (height, width), np.uint8)
encoding = FileEncoding("image/avif")
encode_cutout(color[:64, :64], alpha[:64, :64], encoding, 100)
peak = PeakMemory([os.getpid()])
peak.settle()
with peak:
    encode_cutout(color, alpha, encoding, 100)
peak.close()
print(peak.grown_bytes)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), short_or_long([(1601, 1201)], [(2048, 2048), (2600, 1600), (1601, 1201)]))
def test_what_writing_is_said_to_take_covers_noise_at_the_highest_quality(width: int, height: int) -> None:
    output = OutputSpec(kind=OutputKind.CUTOUT, encoding=AVIF)
    # Beside the photo and its alpha, which are there already.
    said = working_bytes(width, height, None, (), (output,), ModelInput(64, 64), exact=False) - 5 * width * height
    program = [sys.executable, "-c", _GROWN, str(width), str(height)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    grown = subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout
    assert int(grown) <= said
