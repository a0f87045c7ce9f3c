# SPDX-License-Identifier: Apache-2.0
"""What is composed here is what the options say."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matting_client import BackgroundPicture, OutputSpec
from matting_client.answers import Answer, Box, Output, Subject, Timings
from matting_client.compose import LocalComposer, compose, fit_background, read_color
from matting_client.formats import FileFormat
from PIL import Image, ImageCms

RED, GREEN, BLUE = (200, 30, 20), (20, 180, 40), (10, 40, 220)


def file_of(pixels: npt.NDArray[Any] | Image.Image, image_format: str = "png", **options: Any) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, image_format, **options)
    return out.getvalue()


def pixels_of(content: bytes) -> npt.NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def photo() -> bytes:
    """A red box on green, 60 wide and 40 high; the box is x 20 to 40, y 10 to 30."""
    pixels = np.full((40, 60, 3), GREEN, np.uint8)
    pixels[10:30, 20:40] = RED
    return file_of(pixels)


@pytest.fixture
def alpha() -> bytes:
    matte = np.zeros((40, 60), np.uint8)
    matte[10:30, 20:40] = 255
    return file_of(matte)


def test_a_cutout_holds_the_subject_and_nothing_of_the_background(photo: bytes, alpha: bytes) -> None:
    result = pixels_of(compose(photo, alpha, OutputSpec(kind="cutout")))
    assert result.shape == (40, 60, 4)
    assert tuple(result[20, 30]) == (*RED, 255)
    assert not result[result[..., 3] == 0].any()


def test_a_composite_is_over_its_colour(photo: bytes, alpha: bytes) -> None:
    result = pixels_of(compose(photo, alpha, OutputSpec(kind="composite", background=BLUE)))
    assert tuple(result[0, 0]) == BLUE
    assert tuple(result[20, 30]) == RED


@pytest.mark.parametrize("linear_light", [False, True])
def test_a_composite_is_over_its_picture(photo: bytes, alpha: bytes, linear_light: bool) -> None:
    picture = BackgroundPicture(file_of(np.full((9, 9, 3), BLUE, np.uint8)), linear_light=linear_light)
    result = pixels_of(compose(photo, alpha, OutputSpec(kind="composite", background=picture)))
    assert tuple(result[0, 0]) == BLUE
    assert tuple(result[20, 30]) == RED


@pytest.mark.parametrize("box", [None, Box(20, 10, 20, 20)])
def test_a_crop_is_the_subject_with_its_margin(photo: bytes, alpha: bytes, box: Box | None) -> None:
    spec = OutputSpec(kind="cutout", crop_margin_share=0.25)
    assert pixels_of(compose(photo, alpha, spec, box)).shape == (30, 30, 4)


def test_a_crop_of_nothing_is_the_whole_photo(photo: bytes) -> None:
    empty = file_of(np.zeros((40, 60), np.uint8))
    assert pixels_of(compose(photo, empty, OutputSpec(kind="cutout", crop_margin_share=0.0))).shape == (40, 60, 4)


def test_a_result_is_no_larger_than_asked(photo: bytes, alpha: bytes) -> None:
    assert pixels_of(compose(photo, alpha, OutputSpec(kind="cutout", max_side_px=30))).shape == (20, 30, 4)


def test_a_smaller_alpha_is_brought_to_the_photo(photo: bytes) -> None:
    matte = np.zeros((20, 30), np.uint8)
    matte[5:15, 10:20] = 255
    for spec in (OutputSpec(kind="cutout"), OutputSpec(kind="cutout", refine=True)):
        result = pixels_of(compose(photo, file_of(matte), spec))
        assert result.shape == (40, 60, 4)
        assert result[20, 30, 3] > 250
        assert result[2, 2, 3] < 5


def test_decontamination_takes_the_background_out_of_the_soft_edge() -> None:
    weight = np.zeros((40, 60), np.float32)
    weight[10:30, 20:40] = 1
    weight[10:30, 16:20] = np.linspace(0.2, 0.8, 4)
    mixed = weight[..., None] * np.array(RED) + (1 - weight[..., None]) * np.array(GREEN)
    photo, alpha = file_of(mixed.astype(np.uint8)), file_of((weight * 255).astype(np.uint8))
    clean = pixels_of(compose(photo, alpha, OutputSpec(kind="cutout", decontaminate=True)))
    plain = pixels_of(compose(photo, alpha, OutputSpec(kind="cutout")))

    def error(result: npt.NDArray[Any]) -> float:
        return float(np.abs(result[20, 16:20, :3].astype(int) - np.array(RED)).mean())

    assert error(clean) < error(plain) / 2


@pytest.mark.parametrize("encoding", ["png", "webp", "avif"])
def test_every_format_holds_the_alpha_and_no_metadata(photo: bytes, alpha: bytes, encoding: FileFormat) -> None:
    content = compose(photo, alpha, OutputSpec(kind="cutout", encoding=encoding))
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format or "").lower() == encoding
        assert image.mode == "RGBA"
        assert not image.getexif()


def test_lossless_webp_is_exact(photo: bytes, alpha: bytes) -> None:
    spec = OutputSpec(kind="cutout", encoding="webp", lossless=True)
    expected = pixels_of(compose(photo, alpha, OutputSpec(kind="cutout")))
    assert np.array_equal(pixels_of(compose(photo, alpha, spec)), expected)


def test_a_jpeg_is_a_composite_or_a_gray_alpha(photo: bytes, alpha: bytes) -> None:
    spec = OutputSpec(kind="composite", encoding="jpeg", background=(255, 255, 255))
    assert pixels_of(compose(photo, alpha, spec)).shape == (40, 60, 3)
    assert pixels_of(compose(photo, alpha, OutputSpec(encoding="jpeg"))).shape == (40, 60)
    with pytest.raises(ValueError, match="jpeg"):
        compose(photo, alpha, OutputSpec(kind="cutout", encoding="jpeg"))


def test_a_turned_photo_is_upright() -> None:
    pixels = np.full((40, 60, 3), GREEN, np.uint8)
    pixels[:, :20] = RED
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise: the left edge becomes the upper one
    color = read_color(file_of(pixels, "png", exif=exif))
    assert color.shape == (60, 40, 3)
    assert tuple(color[5, 20]) == RED


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_every_kind_of_photo_becomes_colour(mode: str) -> None:
    image = Image.fromarray(np.full((8, 9, 3), 255, np.uint8)).convert(mode)
    assert read_color(file_of(image)).tolist() == np.full((8, 9, 3), 255).tolist()


def test_a_broken_profile_is_no_reason_to_fail() -> None:
    image = Image.fromarray(np.full((8, 9, 3), 90, np.uint8))
    assert read_color(file_of(image, icc_profile=b"nonsense")).shape == (8, 9, 3)


def test_a_profile_is_converted() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(np.full((8, 9, 3), 90, np.uint8))
    assert np.abs(read_color(file_of(image, icc_profile=lab)).astype(int) - 90).max() <= 1


@pytest.mark.parametrize("photo", [b"", b"nonsense", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_photo_is_said_so(photo: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        read_color(photo)


def test_a_cut_off_photo_is_said_so(photo: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_color(photo[: len(photo) // 2])


def test_a_deep_photo_is_left_to_the_server() -> None:
    with pytest.raises(ValueError, match="16 bits"):
        read_color(file_of(np.full((8, 9), 40_000, np.uint16)))


def test_a_refined_edge_asks_for_the_alpha_of_the_models_grid(photo: bytes) -> None:
    for refine in (True, "guided", "matting"):
        composer = LocalComposer(OutputSpec(kind="cutout", refine=refine))
        assert composer.alpha_spec(photo) == OutputSpec(model_grid=True)
    assert LocalComposer(OutputSpec(kind="cutout")).alpha_spec(photo) == OutputSpec()


def answer_of(matte: npt.NDArray[Any], applied: str) -> Answer:
    output = Output(file_of(matte), "image/png", None, matte.shape[1], matte.shape[0], applied)
    return Answer((output,), "u2net", "1", Subject(True, None, 0.5), Timings(0, 0, 0))


def test_an_alpha_that_an_older_server_has_enlarged_is_not_refined(photo: bytes) -> None:
    matte = np.full((40, 60), 255, np.uint8)
    refined = LocalComposer(OutputSpec(kind="cutout", refine="matting"))
    with pytest.raises(ValueError, match="older version"):
        refined.compose(photo, answer_of(matte, ""))
    assert refined.compose(photo, answer_of(matte, "none"))
    assert LocalComposer(OutputSpec(kind="cutout")).compose(photo, answer_of(matte, ""))


def test_the_photos_own_alpha_is_taken_into_account_once() -> None:
    clear = np.full((40, 60, 4), 255, np.uint8)
    clear[..., 3] = 128
    photo, matte = file_of(clear), np.full((10, 15), 255, np.uint8)
    refined = LocalComposer(OutputSpec(kind="cutout", refine="matting")).compose(photo, answer_of(matte, "none"))
    # The server has multiplied it into an alpha that is not of the model's grid.
    plain = LocalComposer(OutputSpec(kind="cutout")).compose(photo, answer_of(np.full((40, 60), 128, np.uint8), ""))
    assert (pixels_of(refined)[..., 3] == 128).all()
    assert (pixels_of(plain)[..., 3] == 128).all()


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("size", [(10, 40), (40, 10), (25, 25), (1, 1)])
def test_a_background_fills_the_photo(fit: Any, size: tuple[int, int]) -> None:
    result = fit_background(np.full((*size, 3), 255, np.uint8), 60, 40, fit)
    assert result.shape == (40, 60, 3)
    assert bool((result == 255).all()) == (fit != "contain")


def test_a_photo_that_cannot_be_read_here_is_found_before_anything_is_asked() -> None:
    deep = file_of(np.full((8, 9), 40_000, np.uint16))
    for photo in (deep, b"nonsense"):
        with pytest.raises(ValueError, match=r"16 bits|cannot be read"):
            LocalComposer(OutputSpec(kind="cutout")).alpha_spec(photo)


def test_a_heic_photo_is_read_where_its_library_is() -> None:
    heif = pytest.importorskip("pillow_heif")
    image = heif.from_pillow(Image.fromarray(np.full((64, 64, 3), RED, np.uint8)))
    out = io.BytesIO()
    image.save(out, quality=90)
    assert np.abs(read_color(out.getvalue())[32, 32].astype(int) - np.array(RED)).max() < 12
