# SPDX-License-Identifier: Apache-2.0
"""AVIF strip by strip is, to the bit, what Pillow reads and writes in one piece."""

import io
from typing import Any

import numpy as np
import pytest
from matting_gateway.domain import FileEncoding
from matting_gateway.errors import ImageUnreadableError
from matting_gateway.imaging.encode import encode_cutout, encode_file
from matting_pixels.compose import cutout
from matting_pixels.fit import resize
from PIL import Image
from testkit.decoding import prepared
from testkit.photos import ellipse, sample_photo

AVIF = FileEncoding("image/avif")
QUALITY = 85
SIZES = [(1, 1), (2, 1), (65, 129), (64, 128), (333, 517)]


def by_pillow(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "AVIF", **{"quality": QUALITY, "speed": 9, "max_threads": 1} | options)
    return out.getvalue()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_is_written_is_the_file_that_pillow_writes(width: int, height: int) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    assert encode_cutout(color, alpha, AVIF, QUALITY) == by_pillow(cutout(color, alpha))
    for pixels in (color, alpha, np.dstack([color, alpha])):
        assert encode_file(pixels, AVIF, QUALITY) == by_pillow(pixels)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_is_read_are_the_pixels_that_pillow_reads(width: int, height: int, subsampling: str) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    for pixels in (color, np.dstack([color, alpha])):
        content = by_pillow(pixels, subsampling=subsampling)
        result = prepared(content)
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(image)
        assert np.array_equal(result.color, expected[..., :3])
        assert (result.alpha is None) == (pixels is color)
        assert result.alpha is None or np.array_equal(result.alpha, expected[..., 3])


def test_a_file_cut_off_in_its_picture_is_refused_in_words() -> None:
    content = by_pillow(sample_photo(65, 129))
    with pytest.raises(ImageUnreadableError, match="AVIF"):
        prepared(content[:-200])
