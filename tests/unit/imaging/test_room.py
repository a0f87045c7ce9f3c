# SPDX-License-Identifier: Apache-2.0
"""The imaging room as the pipeline uses it."""

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import (
    EncodedPhoto,
    FileEncoding,
    OutputKind,
    OutputSpec,
    PixelFormat,
    RawEncoding,
    RawPhoto,
)
from matting_gateway.errors import ImageUnreadableError
from matting_gateway.imaging.service import ImagingService
from PIL import Image
from testkit.imaging import open_room, prepare, take

MODEL = ModelInput(64, 64)
ALPHA = (OutputSpec(),)
CUTOUT = (OutputSpec(kind=OutputKind.CUTOUT),)


# A worker takes a second to start: one for all of these tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room() -> AsyncIterator[ImagingService]:
    async with open_room() as room:
        yield room


def photo(image_format: str = "JPEG", size: tuple[int, int] = (200, 100)) -> EncodedPhoto:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, image_format)
    return EncodedPhoto(out.getvalue())


def disc() -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.where((rows - 32) ** 2 + (columns - 32) ** 2 < 400, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
async def test_a_photo_comes_back_as_an_alpha_of_its_own_size(room: ImagingService, image_format: str) -> None:
    source = photo(image_format)
    with await prepare(room, source, *ALPHA, model=MODEL) as prepared:
        assert (prepared.width_px, prepared.height_px, len(prepared.data)) == (64, 64, 64 * 64 * 3)
        rendered = await room.render(prepared, disc().tobytes())
    image = Image.open(io.BytesIO(rendered.outputs[0].data))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (200, 100))
    assert rendered.subject.found


async def test_a_cutout_shows_the_photo_and_hides_nothing_under_alpha_0(room: ImagingService) -> None:
    source = photo("PNG")
    rendered = await take(room, source, disc().tobytes(), *CUTOUT, model=MODEL)
    cutout = np.asarray(Image.open(io.BytesIO(rendered.outputs[0].data)))
    original = np.asarray(Image.open(io.BytesIO(source.content)))
    assert (cutout[cutout[..., 3] == 0] == 0).all()
    assert (cutout[..., :3][cutout[..., 3] > 0] == original[cutout[..., 3] > 0]).all()


async def test_once_the_results_are_there_nothing_else_of_the_call_is_held(room: ImagingService) -> None:
    source = photo(size=(2000, 1000))
    with await prepare(room, source, *CUTOUT, model=MODEL) as prepared:
        await room.render(prepared, disc().tobytes())
        job, held_bytes = prepared.job, 512 * os.fstat(prepared.file.descriptor).st_blocks
        assert held_bytes < 3 * 2000 * 1000 < job.results.offset
        assert not any(prepared.file.view(job.photo.content.offset, len(source.content)))


async def test_raw_pixels_go_in_and_out(room: ImagingService) -> None:
    pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    source = RawPhoto(pixels.tobytes(), 20, 10, PixelFormat.RGB8)
    outputs = (OutputSpec(kind=OutputKind.CUTOUT, encoding=RawEncoding()),)
    rendered = await take(room, source, bytes([255]) * 64 * 64, *outputs, model=MODEL)
    assert rendered.outputs[0].pixel_format is PixelFormat.RGBA8
    assert (np.frombuffer(rendered.outputs[0].data, np.uint8).reshape(10, 20, 4)[..., :3] == pixels).all()


async def test_a_damaged_photo_costs_only_itself(room: ImagingService) -> None:
    whole = photo("PNG")
    content = bytes(whole.content)
    damaged = EncodedPhoto(content[:60] + b"\xff" * 40 + content[100:])
    header = room.inspect(damaged, ALPHA)
    with pytest.raises(ImageUnreadableError):
        await room.prepare(damaged, header, MODEL, ALPHA)
    with await room.prepare(whole, header, MODEL, ALPHA) as prepared:
        assert prepared.width_px == 64
    assert room.statistics().active == 0


@pytest.mark.slow
async def test_a_cancelled_call_ends_its_work_before_the_next_result(room: ImagingService) -> None:
    outputs = tuple(OutputSpec() for _ in range(8))
    source = photo("PNG", (2000, 2000))
    with await prepare(room, source, *outputs, model=MODEL) as prepared:
        (handle,) = room._workers._states
        os.kill(handle.pid, signal.SIGSTOP)
        call = asyncio.create_task(room.render(prepared, disc().tobytes()))
        await asyncio.sleep(0)  # it begins
        call.cancel()
        await asyncio.sleep(0)
        assert not call.done()
        assert room.statistics().active == 1
        os.kill(handle.pid, signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert room.statistics().active == 0
        assert not any(prepared.file.view(prepared.job.results.offset, 8))


@pytest.mark.slow
async def test_an_encoding_is_written_as_asked(room: ImagingService) -> None:
    outputs = tuple(OutputSpec(encoding=FileEncoding(f"image/{name}")) for name in ("png", "webp", "jpeg", "avif"))
    room.check_outputs(outputs)
    source = photo()
    rendered = await take(room, source, disc().tobytes(), *outputs, model=MODEL)
    formats = [Image.open(io.BytesIO(output.data)).format for output in rendered.outputs]
    assert formats == ["PNG", "WEBP", "JPEG", "AVIF"]
