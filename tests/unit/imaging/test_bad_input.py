# SPDX-License-Identifier: Apache-2.0
"""Damaged, lying and hostile files: a clear error or a correct result, in time and within the memory allowed."""

import io
import itertools
import struct
import sys
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from matting_gateway.domain.photo import EncodedPhoto, PixelFormat, RawPhoto
from matting_gateway.errors import (
    GatewayError,
    ImageFormatUnsupportedError,
    ImageTooLargeError,
    ImageUnreadableError,
    OptionInvalidError,
)
from matting_gateway.imaging.inspect import read_header
from matting_gateway.imaging.settings import ImageLimits, ImagingSettings
from matting_gateway.imaging.worker.decode import decode
from PIL import Image
from testkit.decoding import SETTINGS, allowing_animations, color_of, plan_of, prepared
from testkit.image_seeds import seeds
from testkit.pngs import SIGNATURE, chunk, write_png

SEEDS = dict(seeds())
DEFAULTS = ImagingSettings()
SAMPLES = np.zeros((8, 8, 3), np.uint16)
# A tenth of what a reader would call that looked at millions of parts.
MOST_CALLS = 3_000_000
TOO_MANY = "made of too many parts"


def refuse(content: bytes, settings: ImagingSettings = DEFAULTS) -> GatewayError:
    """Return why a file is refused by its header alone."""
    with pytest.raises(GatewayError) as caught:
        read_header(EncodedPhoto(content), settings, settings.formats)
    return caught.value


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    return write_png(SAMPLES, 2, 8, before=chunks)


def jpeg(**options: object) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def with_jpeg_size(width: int, height: int) -> bytes:
    content = bytearray(jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", ImageUnreadableError, "empty"),
        (b"hello, I am a photo", ImageUnreadableError, "no image of a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ImageUnreadableError, "no image of a known format"),
        (SEEDS["GIF P 0"], ImageFormatUnsupportedError, "GIF is not accepted"),
        (SEEDS["TIFF RGB 0"], ImageFormatUnsupportedError, "TIFF is not accepted"),
        (SEEDS["BMP RGB 0"], ImageFormatUnsupportedError, "BMP is not accepted"),
        (b"\xff\xd8\xff", ImageUnreadableError, "cut off"),
        (SIGNATURE, ImageUnreadableError, "cut off"),
        (with_jpeg_size(65_500, 65_500), ImageTooLargeError, "a side may have at most 32,767"),
        (with_jpeg_size(65_500, 1), ImageTooLargeError, "a side may have at most 32,767"),
        (with_jpeg_size(20_000, 20_000), ImageTooLargeError, "at most 50,000,000"),
        (with_jpeg_size(0, 10), ImageUnreadableError, "at least 1 pixel"),
        (write_png(SAMPLES, 2, 8, size=(0, 8)), ImageUnreadableError, "at least 1 pixel"),
        (write_png(SAMPLES, 2, 8, size=(7000, 7000)), ImageUnreadableError, "less picture data"),
        (png_with((b"acTL", struct.pack(">II", 5, 0))), ImageFormatUnsupportedError, "more than one frame"),
        (png_with(*[(b"tEXt", b"k\x00v")] * 1100), ImageTooLargeError, "at most 1,024"),
        (png_with(*[(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(1000)))] * 1100), ImageTooLargeError, "chunks"),
        (png_with((b"tEXt", bytes(9 << 20))), ImageTooLargeError, "bytes of metadata"),
        (png_with((b"iCCP", bytes(5 << 20))), ImageTooLargeError, "colour profile"),
        (jpeg()[:2] + b"\xff\xe5\x00\x04ab" * 1100 + jpeg()[2:], ImageTooLargeError, "at most 1,024"),
        (jpeg(progressive=True)[:-2] + b"\xff\xda\x00\x03\x00" * 100 + b"\xff\xd9", ImageTooLargeError, "scans"),
    ],
)
def test_a_header_that_breaks_a_limit_is_refused_before_decoding(
    content: bytes, error: type[GatewayError], words: str
) -> None:
    refusal = refuse(content)
    assert type(refusal) is error
    assert words in refusal.message


def test_the_length_of_the_file_is_limited() -> None:
    settings = replace(DEFAULTS, limits=ImageLimits(max_encoded_bytes=100))
    assert "at most 100 are accepted" in refuse(jpeg(), settings).message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"\xff\xd8" + b"\xff" * (30 << 20), "a marker is missing", id="JPEG fill"),
        pytest.param(b"\xff\xd8" + b"\xff\xd0" * (15 << 20), TOO_MANY, id="JPEG markers"),
        pytest.param(b"\xff\xd8" + b"\xff\xe5\x00\x02" * (7 << 20), TOO_MANY, id="JPEG segments"),
        pytest.param(png_with()[:33] + chunk(b"IDAT", b"") * (2 << 20), TOO_MANY, id="PNG chunks"),
        pytest.param(
            b"RIFF" + struct.pack("<I", 30 << 20) + b"WEBP" + b"ANMF\x00\x00\x00\x00" * (4 << 20),
            TOO_MANY,
            id="WebP chunks",
        ),
        pytest.param(
            SEEDS["GIF P 0"][:781] + b"\x21\xfe" + b"\x01a" * (15 << 20) + b"\x00",
            TOO_MANY,
            id="GIF blocks",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            bytes.fromhex("0000000c66747970617669660000") + b"\x00\x08free" * (5 << 20), "cut off", id="AVIF boxes"
        ),
    ],
)
def test_a_file_of_nothing_but_parts_is_refused_before_most_of_them_are_looked_at(content: bytes, words: str) -> None:
    settings = replace(SETTINGS, limits=ImageLimits(max_encoded_bytes=1 << 30))
    calls = itertools.count()
    sys.setprofile(lambda *_: next(calls))
    try:
        refusal = refuse(content, settings)
    finally:
        sys.setprofile(None)
    assert words in refusal.message
    assert next(calls) < MOST_CALLS


def test_a_limit_is_what_the_operator_says() -> None:
    wide = replace(DEFAULTS, limits=ImageLimits(max_side_px=40_000, max_pixels=40_000))
    assert read_header(EncodedPhoto(with_jpeg_size(40_000, 1)), wide, wide.formats) is not None


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_refused_unless_the_operator_allows_it(image_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, image_format, save_all=True, append_images=frames[1:])
    assert type(refuse(out.getvalue(), SETTINGS)) is ImageFormatUnsupportedError
    assert color_of(prepared(out.getvalue(), settings=allowing_animations())).shape == (8, 8, 3)


def test_a_profile_that_unpacks_to_too_much_is_refused() -> None:
    content = png_with((b"iCCP", b"x\x00\x00" + zlib.compress(bytes(20 << 20))))
    with pytest.raises(ImageTooLargeError, match="unpacks to more than"):
        prepared(content)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "head"), [(b"zTXt", b"k\x00\x00"), (b"iTXt", b"k\x00\x01\x00\x00\x00")])
def test_text_that_would_unpack_to_too_much_is_never_unpacked_and_the_picture_is_what_it_is_without(
    kind: bytes, head: bytes
) -> None:
    content = png_with((kind, head + zlib.compress(bytes(64 << 20))))
    tracemalloc.start()
    try:
        result = prepared(content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(color_of(result), SAMPLES)
    assert peak_bytes < 1 << 20


def without_tables(content: bytes, marker: bytes) -> bytes:
    """Return a JPEG without its segments of one kind."""
    while (at := content.find(marker)) >= 0:
        (length,) = struct.unpack_from(">H", content, at + 2)
        content = content[:at] + content[at + 2 + length :]
    return content


def test_missing_tables_of_quantisation_are_an_error() -> None:
    with pytest.raises(ImageUnreadableError):
        prepared(without_tables(jpeg(), b"\xff\xdb"))


def test_missing_tables_of_huffman_codes_are_those_that_most_files_have() -> None:
    assert np.array_equal(color_of(prepared(without_tables(jpeg(), b"\xff\xc4"))), color_of(prepared(jpeg())))


@pytest.mark.slow
# Pillow warns of what it skips; in a decoder process nobody hears it.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SEEDS)
def test_a_file_cut_at_any_byte_is_an_error_or_the_whole_picture(name: str) -> None:
    content, whole = SEEDS[name], prepared(SEEDS[name])
    for length in range(len(content)):
        try:
            result = prepared(content[:length])
        except (ImageUnreadableError, ImageFormatUnsupportedError, ImageTooLargeError) as error:
            assert error.message  # noqa: PT017 - an error is one of two good ends
        else:
            assert np.array_equal(color_of(result), color_of(whole))


def test_a_file_under_a_wrong_name_is_what_it_is() -> None:
    photo = EncodedPhoto(SEEDS["PNG RGBA 0"], "image/jpeg")
    header = read_header(photo, DEFAULTS, DEFAULTS.formats)
    assert header is not None
    assert header.format.title == "PNG"


@pytest.mark.parametrize("tail", [b"PK\x03\x04" + bytes(200), b"<script>alert(1)</script>", b"%PDF-1.7\n"])
@pytest.mark.parametrize("name", ["JPEG RGB 0", "PNG RGBA 0", "WEBP RGB 0", "GIF P 0", "BMP RGB 0", "TIFF RGB 0"])
def test_what_follows_a_picture_is_ignored(name: str, tail: bytes) -> None:
    assert np.array_equal(color_of(prepared(SEEDS[name] + tail)), color_of(prepared(SEEDS[name])))


@pytest.mark.parametrize(("width", "height"), [(65_500, 1), (1, 65_500), (65_500, 40)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
def test_the_longest_sides_are_refused_or_decoded_as_the_operator_says(
    image_format: str, width: int, height: int
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 60)).save(out, image_format)
    assert type(refuse(out.getvalue(), SETTINGS)) is ImageTooLargeError
    wide = replace(SETTINGS, limits=ImageLimits(max_side_px=65_535))
    result = prepared(out.getvalue(), settings=wide)
    assert result.color is not None
    assert result.color.shape == (height, width, 3)
    assert result.model_pixels is not None
    assert np.abs(result.model_pixels - np.array([200.0, 30, 60])).max() < 12


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 700), (700, 1), (2, 3)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_smallest_pictures_are_pictures(image_format: str, width: int, height: int) -> None:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 60)).save(out, image_format)
    result = prepared(out.getvalue())
    assert result.color is not None
    assert result.color.shape == (height, width, 3)
    assert result.model_pixels is not None
    assert np.abs(result.model_pixels - np.array([200.0, 30, 60])).max() < 12


@pytest.mark.parametrize(
    ("width", "height", "length", "field"),
    [
        (2, 2, 11, "pixels.data"),
        (2, 2, 13, "pixels.data"),
        (0, 2, 0, "pixels.width_px"),
        (2, -1, 0, "pixels.height_px"),
    ],
)
def test_raw_pixels_of_the_wrong_length_are_refused(width: int, height: int, length: int, field: str) -> None:
    photo = RawPhoto(bytes(length), width, height, PixelFormat.RGB8)
    with pytest.raises(OptionInvalidError) as caught:
        read_header(photo, DEFAULTS, DEFAULTS.formats)
    assert caught.value.field == field


def test_a_picture_other_than_its_header_is_refused() -> None:
    plan = plan_of(SEEDS["PNG RGBA 0"])
    lying = replace(plan, header=replace(plan.header, width_px=25))
    with pytest.raises(ImageUnreadableError):
        decode(SEEDS["PNG RGBA 0"], lying)


@pytest.mark.parametrize("name", SEEDS)
def test_an_honest_seed_decodes(name: str) -> None:
    assert prepared(SEEDS[name]).color is not None


def test_chunks_are_written_as_the_format_says() -> None:
    assert chunk(b"IEND", b"") == b"\x00\x00\x00\x00IEND\xaeB`\x82"
