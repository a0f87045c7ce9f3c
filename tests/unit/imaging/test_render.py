# SPDX-License-Identifier: Apache-2.0
"""From a photo and a model's alpha to every kind of result."""

import io
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import pytest_asyncio
from matting_gateway.domain.model import Fit, ModelInput
from matting_gateway.domain.photo import (
    BackgroundFit,
    Box,
    ColorBackground,
    CropSpec,
    Decontamination,
    EncodedPhoto,
    FileEncoding,
    OutputKind,
    OutputSpec,
    Photo,
    PictureBackground,
    PixelFormat,
    RawEncoding,
    RawPhoto,
    Refinement,
)
from matting_gateway.errors import OptionInvalidError
from matting_gateway.imaging.answers import Rendered
from matting_gateway.imaging.service import ImagingService
from matting_gateway.imaging.worker import render as render_module
from matting_pixels.placement import stretch
from PIL import Image
from testkit.decoding import prepared as decoded
from testkit.imaging import ONE_WORKER, open_room, prepare
from testkit.pngs import write_png

WIDTH, HEIGHT = 160, 120
MODEL = ModelInput(64, 64)
RAW = RawEncoding()


# A worker takes a second to start: one for all of these tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room() -> AsyncIterator[ImagingService]:
    async with open_room() as room:
        yield room


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([columns * 255 // width, rows * 255 // height, (rows + columns) % 200]).astype(np.uint8)


def png(pixels: np.ndarray) -> EncodedPhoto:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return EncodedPhoto(out.getvalue())


def square(left: int = 16, top: int = 16, side: int = 32) -> np.ndarray:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[top : top + side, left : left + side] = 255
    return alpha


async def render(
    room: ImagingService, photo: Photo, alpha: np.ndarray, *outputs: OutputSpec, model: ModelInput = MODEL
) -> Rendered:
    room.check_outputs(outputs)
    with await prepare(room, photo, *outputs, model=model) as prepared:
        assert len(prepared.data) == prepared.width_px * prepared.height_px * 3
        return await room.render(prepared, alpha.tobytes())


def pixels(rendered: Rendered, index: int = 0) -> np.ndarray:
    output = rendered.outputs[index]
    if output.pixel_format is None:
        return np.asarray(Image.open(io.BytesIO(output.data)))
    kind = output.pixel_format
    dtype = np.uint16 if kind.bytes_per_sample == 2 else np.uint8
    shape: Sequence[int] = (output.height_px, output.width_px, kind.sample_count)
    return np.frombuffer(output.data, dtype).reshape(shape).squeeze()


def spec(kind: OutputKind = OutputKind.ALPHA, **options: Any) -> OutputSpec:
    return OutputSpec(kind=kind, encoding=options.pop("encoding", RAW), **options)


async def test_the_subject_is_reported_in_pixels_of_the_photo(room: ImagingService) -> None:
    rendered = await render(room, png(picture()), square(), spec())
    assert rendered.subject.found
    assert rendered.subject.box == Box(40, 30, 80, 60)
    assert rendered.subject.area_share == pytest.approx(0.25)


async def test_no_subject_is_said_as_such_and_a_crop_then_shows_the_whole_photo(room: ImagingService) -> None:
    rendered = await render(room, png(picture()), np.zeros((64, 64), np.uint8), spec(crop=CropSpec()))
    assert (rendered.subject.found, rendered.subject.box, rendered.subject.area_share) == (False, None, 0.0)
    assert pixels(rendered).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(("margin", "size"), [(0.0, (60, 80)), (0.1, (76, 96)), (1.0, (120, 160))])
async def test_a_crop_is_the_subject_and_its_margin(room: ImagingService, margin: float, size: tuple[int, int]) -> None:
    outputs = spec(crop=CropSpec(margin)), spec(OutputKind.CUTOUT, crop=CropSpec(margin))
    rendered = await render(room, png(picture()), square(), *outputs)
    assert pixels(rendered).shape == size
    cut = pixels(rendered, 1)
    top, left = (HEIGHT - size[0]) // 2, (WIDTH - size[1]) // 2
    expected = picture()[top : top + size[0], left : left + size[1]]
    seen = cut[..., 3] > 0
    assert (cut[..., :3][seen] == expected[seen]).all()


async def test_a_result_is_scaled_down_to_the_side_asked_for_and_never_up(room: ImagingService) -> None:
    outputs = [spec(kind, max_side_px=side) for kind in (OutputKind.ALPHA, OutputKind.CUTOUT) for side in (80, 1000)]
    rendered = await render(room, png(picture()), square(), *outputs)
    assert [(o.width_px, o.height_px) for o in rendered.outputs] == [(80, 60), (160, 120)] * 2
    reference = cv2.resize(picture(), (80, 60), interpolation=cv2.INTER_AREA)
    small = pixels(rendered, 2)
    seen = small[..., 3] == 255
    assert np.abs(small[..., :3][seen].astype(int) - reference[seen]).max() <= 1


async def test_a_scaled_crop_is_scaled_after_it_is_cut(room: ImagingService) -> None:
    rendered = await render(room, png(picture()), square(), spec(OutputKind.CUTOUT, crop=CropSpec(), max_side_px=40))
    assert pixels(rendered).shape == (30, 40, 4)


@pytest.mark.slow
async def test_a_large_jpeg_is_decoded_no_larger_than_its_results_need(room: ImagingService) -> None:
    out = io.BytesIO()
    Image.fromarray(picture(1600, 1200)).save(out, "JPEG", quality=95)
    photo = EncodedPhoto(out.getvalue())
    for output, width in ((spec(OutputKind.CUTOUT, max_side_px=300), 400), (spec(OutputKind.CUTOUT), 1600)):
        color = decoded(out.getvalue(), output, model=MODEL).color
        assert color is not None
        assert color.shape[1] == width
    rendered = await render(room, photo, square(), spec(OutputKind.CUTOUT, max_side_px=300))
    reference = cv2.resize(picture(1600, 1200), (300, 225), interpolation=cv2.INTER_AREA)
    result = pixels(rendered)
    seen = result[..., 3] == 255
    assert np.abs(result[..., :3][seen].astype(int) - reference[seen]).mean() < 3


async def test_a_composite_over_a_colour(room: ImagingService) -> None:
    output = spec(OutputKind.COMPOSITE, background=ColorBackground(10, 200, 30))
    result = pixels(await render(room, png(picture()), square(), output))
    assert (result[0, 0] == (10, 200, 30)).all()
    assert (result[60, 80] == picture()[60, 80]).all()


@pytest.mark.parametrize("fit", BackgroundFit)
@pytest.mark.parametrize("linear_light", [False, True])
async def test_a_composite_over_a_picture(room: ImagingService, fit: BackgroundFit, linear_light: bool) -> None:
    behind = np.zeros((50, 200, 3), np.uint8)
    behind[:, :100], behind[:, 100:] = (255, 0, 0), (0, 0, 255)
    output = spec(OutputKind.COMPOSITE, background=PictureBackground(png(behind), fit, linear_light))
    result = pixels(await render(room, png(picture()), square(), output))
    edges = (0, 0, 0) if fit is BackgroundFit.CONTAIN else (255, 0, 0)
    assert (result[0, 0] == edges).all()
    assert (result[60, 5] == (255, 0, 0)).all()
    assert (result[60, 155] == (0, 0, 255)).all()
    assert (result[60, 80] == picture()[60, 80]).all()


async def test_a_transparent_background_picture_is_black_where_it_is_clear(room: ImagingService) -> None:
    behind = np.full((10, 10, 4), 255, np.uint8)
    behind[:, :5, 3] = 0
    output = spec(OutputKind.COMPOSITE, background=PictureBackground(png(behind), BackgroundFit.STRETCH))
    result = pixels(await render(room, png(picture()), square(), output))
    assert (result[60, 2] == 0).all()
    assert (result[60, 157] == 255).all()


async def test_a_photos_own_alpha_is_multiplied_in(room: ImagingService) -> None:
    own = np.full((HEIGHT, WIDTH), 255, np.uint8)
    own[:, 80:] = 0
    photo = png(np.dstack([picture(), own]))
    rendered = await render(room, photo, square(), spec(), spec(OutputKind.CUTOUT))
    alpha = pixels(rendered)
    assert (alpha[:, 80:] == 0).all()
    assert alpha[60, 60] == 255
    assert rendered.subject.box == Box(40, 30, 40, 60)
    assert (pixels(rendered, 1)[..., :3][:, 80:] == 0).all()


async def test_16_bits_stay_16_bits_where_the_result_can_hold_them(room: ImagingService) -> None:
    deep = picture().astype(np.uint16) * 257 + 5
    photo = EncodedPhoto(write_png(deep, 2, 16))
    outputs = (
        spec(OutputKind.CUTOUT, encoding=RawEncoding(PixelFormat.RGBA16)),
        spec(OutputKind.CUTOUT, encoding=FileEncoding()),
        spec(OutputKind.CUTOUT),
        spec(OutputKind.COMPOSITE, background=ColorBackground(0, 0, 0), encoding=RawEncoding(PixelFormat.RGB16)),
        spec(OutputKind.CUTOUT, encoding=FileEncoding("image/webp", lossless=True)),
    )
    rendered = await render(room, photo, square(), *outputs)
    assert (pixels(rendered)[60, 80, :3] == deep[60, 80]).all()
    file = cv2.imdecode(np.frombuffer(rendered.outputs[1].data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert file is not None
    assert (file[60, 80, [2, 1, 0]] == deep[60, 80]).all()
    assert pixels(rendered, 2).dtype == np.uint8
    assert (pixels(rendered, 3)[60, 80] == deep[60, 80]).all()
    assert (pixels(rendered, 4)[60, 80, :3] == picture()[60, 80]).all()


@pytest.mark.parametrize("kind", PixelFormat)
async def test_raw_pixels_of_every_format_are_read(room: ImagingService, kind: PixelFormat) -> None:
    source = np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    channels = [2, 1, 0] if kind is PixelFormat.BGR8 else list(range(kind.sample_count))
    data = source[..., channels].astype("<u2" if kind.bytes_per_sample == 2 else np.uint8)
    if kind.bytes_per_sample == 2:
        data *= 257
    photo = RawPhoto(data.tobytes(), WIDTH, HEIGHT, kind)
    result = pixels(await render(room, photo, square(), spec(OutputKind.CUTOUT)))
    expected = picture()[60, 80, [0, 0, 0]] if len(channels) == 1 else picture()[60, 80]
    assert (result[60, 80, :3] == expected).all()


@pytest.mark.parametrize("kind", [PixelFormat.RGB8, PixelFormat.BGR8])
async def test_a_raw_composite_has_the_order_asked_for(room: ImagingService, kind: PixelFormat) -> None:
    output = spec(OutputKind.COMPOSITE, background=ColorBackground(1, 2, 3), encoding=RawEncoding(kind))
    rendered = await render(room, png(picture()), square(), output)
    assert pixels(rendered)[0, 0].tolist() == ([1, 2, 3] if kind is PixelFormat.RGB8 else [3, 2, 1])


async def test_an_alpha_of_16_bits_is_the_8_bit_one_stretched(room: ImagingService) -> None:
    outputs = spec(encoding=RawEncoding(PixelFormat.GRAY16)), spec()
    rendered = await render(room, png(picture()), square(), *outputs)
    assert (pixels(rendered) == pixels(rendered, 1).astype(np.uint16) * 257).all()


@pytest.mark.parametrize(
    "model",
    [
        ModelInput(64, 64, Fit.LETTERBOX),
        ModelInput(64, 64, Fit.LETTERBOX, top_left=True),
        ModelInput(64, 64, Fit.ASPECT, 16),
    ],
)
async def test_every_fit_finds_its_way_back(room: ImagingService, model: ModelInput) -> None:
    photo = np.zeros((100, 300, 3), np.uint8)
    photo[40:60, 200:230] = 255
    source, outputs = png(photo), (spec(),)
    with await prepare(room, source, *outputs, model=model) as prepared:
        seen = np.frombuffer(prepared.data, np.uint8).reshape(prepared.height_px, prepared.width_px, 3)
        if model.fit is Fit.ASPECT:
            assert (prepared.width_px, prepared.height_px) == (192, 64)
        rendered = await room.render(prepared, seen[..., 0].tobytes())
    found = rendered.subject.box
    assert found is not None
    assert abs(found.left_px + found.width_px / 2 - 215) < 5
    assert abs(found.top_px + found.height_px / 2 - 50) < 5
    assert pixels(rendered).shape == (100, 300)


async def test_outputs_of_one_photo_share_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(render_module, name)

        def call(*args: Any) -> Any:
            calls.append(name)
            return original(*args)

        return call

    for name in ("refine_guided", "decontaminate"):
        monkeypatch.setattr(render_module, name, noted(name))
    guided: dict[str, Any] = {"refinement": Refinement.GUIDED}
    clean = {**guided, "decontamination": Decontamination.BLUR_FUSION}
    outputs = (
        spec(**guided),
        spec(OutputKind.CUTOUT, **clean),
        spec(OutputKind.CUTOUT, **clean, crop=CropSpec(), encoding=FileEncoding("image/webp")),
        spec(OutputKind.COMPOSITE, **clean, background=ColorBackground(0, 0, 0)),
    )
    alpha = cv2.GaussianBlur(square(), (0, 0), 2)
    photo = decoded(bytes(png(picture()).content), outputs[1], model=MODEL)
    renderer = render_module.Renderer(photo, stretch(64, 64), WIDTH, HEIGHT, alpha, exact=False, default_quality=85)
    for index, output in enumerate(outputs):
        renderer.render(output, None, f"outputs[{index}]")
    assert sorted(calls) == ["decontaminate", "refine_guided"]


async def test_what_was_done_to_the_edge_is_said(room: ImagingService) -> None:
    photo = png(np.where(cv2.resize(square(), (WIDTH, HEIGHT))[..., None] > 128, picture(), 255 - picture()))
    solved = spec(OutputKind.CUTOUT, refinement=Refinement.MATTING)
    outputs = (solved, replace(solved, max_side_px=80), spec(refinement=Refinement.GUIDED), spec())
    rendered = await render(room, photo, cv2.GaussianBlur(square(), (0, 0), 2), *outputs)
    applied = [output.refinement for output in rendered.outputs]
    assert applied == [Refinement.MATTING, Refinement.MATTING, Refinement.GUIDED, Refinement.NONE]
    empty = await render(room, photo, np.zeros((64, 64), np.uint8), *outputs)
    assert [output.refinement for output in empty.outputs] == [Refinement.GUIDED] * 3 + [Refinement.NONE]


@pytest.mark.parametrize("fit", [Fit.STRETCH, Fit.LETTERBOX])
async def test_the_alpha_of_the_models_grid_is_what_the_model_made(room: ImagingService, fit: Fit) -> None:
    alpha = cv2.GaussianBlur(square(), (0, 0), 2)
    clear = np.dstack([picture(), np.full((HEIGHT, WIDTH), 100, np.uint8)])
    rendered = await render(room, png(clear), alpha, spec(model_grid=True), model=ModelInput(64, 64, fit))
    shown = alpha if fit is Fit.STRETCH else alpha[8:56]
    assert np.array_equal(pixels(rendered), shown)
    assert (rendered.outputs[0].width_px, rendered.outputs[0].height_px) == shown.shape[::-1]


async def test_a_result_too_long_for_its_format_is_refused(room: ImagingService) -> None:
    photo = RawPhoto(bytes(20_000 * 2), 20_000, 2, PixelFormat.GRAY8)
    with pytest.raises(OptionInvalidError, match="max_side_px"):
        await render(room, photo, square(), spec(encoding=FileEncoding("image/webp")))


@pytest.mark.slow
async def test_exact_resizing_is_pillows_lanczos_both_ways() -> None:
    async with open_room(replace(ONE_WORKER, exact=True)) as room:
        with await prepare(room, png(picture()), spec(), model=MODEL) as prepared:
            expected = np.asarray(Image.fromarray(picture()).resize((64, 64), Image.Resampling.LANCZOS))
            assert np.array_equal(np.frombuffer(prepared.data, np.uint8).reshape(64, 64, 3), expected)
            alpha = cv2.GaussianBlur(square(), (0, 0), 3)
            rendered = await room.render(prepared, alpha.tobytes())
        enlarged = Image.fromarray(alpha).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        assert np.array_equal(pixels(rendered), np.asarray(enlarged))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
async def test_no_metadata_of_the_photo_reaches_a_result(room: ImagingService, image_format: str) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "CANARY", 6
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, image_format, exif=exif, xmp=b"<x>CANARY</x>", comment=b"CANARY")
    encodings = [FileEncoding(f"image/{name}") for name in ("png", "webp", "avif", "jpeg")]
    outputs = [spec(encoding=encoding) for encoding in encodings]
    outputs += [spec(OutputKind.CUTOUT, encoding=encoding) for encoding in encodings[:3]]
    rendered = await render(room, EncodedPhoto(out.getvalue()), square(), *outputs)
    for output in rendered.outputs:
        assert b"CANARY" not in bytes(output.data)
        assert (output.width_px, output.height_px) == (HEIGHT, WIDTH)
        assert 0x0112 not in Image.open(io.BytesIO(output.data)).getexif()


@pytest.mark.slow
async def test_the_bytes_reserved_cover_what_the_results_are_made_of(room: ImagingService) -> None:
    out = io.BytesIO()
    Image.fromarray(picture(1600, 1200)).save(out, "JPEG")
    photo = EncodedPhoto(out.getvalue())
    area = 1600 * 1200

    def reserved(output: OutputSpec) -> int:
        return room.inspect(photo, (output,)).working_bytes((output,), MODEL)

    alpha, cut = reserved(spec()), reserved(spec(OutputKind.CUTOUT))
    assert cut - alpha > 3 * area
    assert reserved(spec(OutputKind.CUTOUT, encoding=FileEncoding("image/avif"))) - cut > 20 * area
    assert reserved(spec(OutputKind.CUTOUT, encoding=FileEncoding("image/webp"))) > cut
    assert reserved(spec(OutputKind.CUTOUT, max_side_px=100)) < cut
