# SPDX-License-Identifier: Apache-2.0
"""What is written can be read back, is tagged sRGB, and says nothing else."""

import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matting_gateway.domain.photo import FileEncoding
from matting_gateway.errors import OptionInvalidError
from matting_gateway.imaging.media_types import MIME_TYPES, check_side
from matting_gateway.imaging.writers.encode import encode_file
from matting_gateway.imaging.writers.png import encode_png
from matting_gateway.privacy.environment import required_environment
from PIL import Image, ImageCms, ImageFile
from testkit.decoding import color_of, prepared

_SHAPES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4])),
)


def read(content: bytes) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def chunks(content: bytes) -> list[bytes]:
    at, kinds = 8, []
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kinds.append(content[at + 4 : at + 8])
        at += 12 + length
    return kinds


@pytest.mark.slow
@given(_SHAPES.flatmap(lambda shape: hnp.arrays(np.uint8, shape)))
def test_a_png_of_8_bits_reads_back_to_the_bit(pixels: np.ndarray) -> None:
    assert np.array_equal(np.asarray(read(encode_png(pixels))), pixels)


@pytest.mark.slow
@given(_SHAPES.flatmap(lambda shape: hnp.arrays(np.uint16, shape)))
def test_a_png_of_16_bits_reads_back_to_the_bit(pixels: np.ndarray) -> None:
    result = prepared(encode_png(pixels))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    assert np.array_equal(color_of(result), pixels[..., :3])
    if pixels.shape[2] == 4:
        assert result.alpha is not None
        assert np.array_equal(result.alpha, pixels[..., 3])


def test_a_png_of_many_strips_reads_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 900, 4), np.uint8)
    assert np.array_equal(np.asarray(read(encode_png(pixels))), pixels)


_WRITE_IN_A_THREAD = """
import threading
import numpy as np
import psutil
from matting_gateway.imaging.writers.png import encode_png
process = psutil.Process()
pixels = np.random.default_rng(0).integers(0, 24, (3000, 4000, 4), np.uint8)
encode_png(pixels[:64, :64])
before = process.memory_info().rss
def write():
    assert len(encode_png(pixels)) > 16 << 20
    print(process.memory_info().rss - before)
thread = threading.Thread(target=write)
thread.start()
thread.join()
"""


@pytest.mark.slow
def test_writing_a_png_leaves_little_to_the_thread_that_did() -> None:
    environment = required_environment(os.environ, scrub_memory=True)
    command = [sys.executable, "-c", _WRITE_IN_A_THREAD]
    answer = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert int(answer.stdout) < 4 << 20


def test_a_png_holds_a_colour_space_and_the_picture_only() -> None:
    assert set(chunks(encode_png(np.zeros((4, 4, 4), np.uint8)))) == {b"IHDR", b"sRGB", b"IDAT", b"IEND"}


@pytest.mark.parametrize("samples", [0, 3, 4])
@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_every_encoding_reads_back_close_to_what_was_written(mime_type: str, samples: int) -> None:
    if mime_type == "image/jpeg" and samples == 4:
        pytest.skip("JPEG has no alpha")
    rows, columns = np.mgrid[:64, :48].astype(np.uint8)
    pixels = np.dstack([rows * 3, columns * 4, rows + columns, 255 - rows * 2][: samples or 1]).astype(np.uint8)
    content = encode_file(pixels if samples else pixels[..., 0], FileEncoding(mime_type, quality=95), 85)
    image = read(content)
    assert image.get_format_mimetype() == mime_type
    mode = {0: "L", 3: "RGB", 4: "RGBA"}[samples]
    off = np.asarray(image.convert(mode)).astype(int) - (pixels if samples else pixels[..., 0])
    assert np.abs(off).mean() < 4
    assert "exif" not in image.info
    assert "xmp" not in image.info


def test_a_jpeg_is_tagged_srgb() -> None:
    image = read(encode_file(np.zeros((8, 8, 3), np.uint8), FileEncoding("image/jpeg"), 85))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_lossless_webp_is_lossless_and_quality_changes_the_size() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 4), np.uint8)
    pixels[..., 3] |= 1
    lossless = encode_file(pixels, FileEncoding("image/webp", lossless=True), 85)
    assert np.array_equal(np.asarray(read(lossless)), pixels)
    small = encode_file(pixels, FileEncoding("image/webp", quality=10), 85)
    assert len(small) < len(encode_file(pixels, FileEncoding("image/webp"), 85)) < len(lossless)


@pytest.mark.parametrize(("mime_type", "side"), [("image/webp", 16_384), ("image/jpeg", 65_501)])
def test_a_result_too_long_for_its_format_is_refused_in_words(mime_type: str, side: int) -> None:
    check_side(FileEncoding(mime_type), side - 1, 1, "outputs[0].encoded.mime_type")
    with pytest.raises(OptionInvalidError, match="set max_side_px"):
        check_side(FileEncoding(mime_type), 1, side, "outputs[0].encoded.mime_type")
