# SPDX-License-Identifier: Apache-2.0
"""The imaging room as the pipeline uses it."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest
from matting_gateway.clock import SystemClock
from matting_gateway.domain import (
    EncodedPhoto,
    FileEncoding,
    ModelInput,
    OutputKind,
    OutputSpec,
    PixelFormat,
    RawEncoding,
    RawPhoto,
)
from matting_gateway.errors import ImageUnreadableError
from matting_gateway.imaging import render
from matting_gateway.imaging.room import Imaging
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.telemetry.metrics import Metrics
from PIL import Image
from prometheus_client import CollectorRegistry

MODEL = ModelInput(64, 64)
ALPHA = (OutputSpec(),)
CUTOUT = (OutputSpec(kind=OutputKind.CUTOUT),)


@pytest.fixture
async def room() -> AsyncIterator[Imaging]:
    room = Imaging(ImagingSettings(worker_count=1), clock=SystemClock(), metrics=Metrics(CollectorRegistry()))
    await room.start()
    yield room
    await room.close()


def photo(image_format: str = "JPEG", size: tuple[int, int] = (200, 100)) -> EncodedPhoto:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, image_format)
    return EncodedPhoto(out.getvalue())


def disc() -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.where((rows - 32) ** 2 + (columns - 32) ** 2 < 400, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
async def test_a_photo_comes_back_as_an_alpha_of_its_own_size(room: Imaging, image_format: str) -> None:
    source = photo(image_format)
    header = room.inspect(source, ALPHA)
    prepared = await room.prepare(source, header, MODEL, ALPHA)
    assert (prepared.width_px, prepared.height_px, len(prepared.data)) == (64, 64, 64 * 64 * 3)
    rendered = await room.render(prepared, disc().tobytes(), ALPHA)
    image = Image.open(io.BytesIO(rendered.outputs[0].data))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (200, 100))
    assert rendered.subject.found


async def test_a_cutout_shows_the_photo_and_hides_nothing_under_alpha_0(room: Imaging) -> None:
    source = photo("PNG")
    prepared = await room.prepare(source, room.inspect(source, CUTOUT), MODEL, CUTOUT)
    rendered = await room.render(prepared, disc().tobytes(), CUTOUT)
    cutout = np.asarray(Image.open(io.BytesIO(rendered.outputs[0].data)))
    original = np.asarray(Image.open(io.BytesIO(source.content)))
    assert (cutout[cutout[..., 3] == 0] == 0).all()
    assert (cutout[..., :3][cutout[..., 3] > 0] == original[cutout[..., 3] > 0]).all()


async def test_raw_pixels_go_in_and_out(room: Imaging) -> None:
    pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    source = RawPhoto(pixels.tobytes(), 20, 10, PixelFormat.RGB8)
    outputs = (OutputSpec(kind=OutputKind.CUTOUT, encoding=RawEncoding()),)
    prepared = await room.prepare(source, room.inspect(source, outputs), MODEL, outputs)
    rendered = await room.render(prepared, bytes([255]) * 64 * 64, outputs)
    assert rendered.outputs[0].pixel_format is PixelFormat.RGBA8
    assert (np.frombuffer(rendered.outputs[0].data, np.uint8).reshape(10, 20, 4)[..., :3] == pixels).all()


async def test_a_damaged_photo_costs_only_itself(room: Imaging) -> None:
    whole = photo("PNG")
    damaged = EncodedPhoto(whole.content[:60] + b"\xff" * 40 + whole.content[100:])
    header = room.inspect(damaged, ALPHA)
    with pytest.raises(ImageUnreadableError):
        await room.prepare(damaged, header, MODEL, ALPHA)
    assert (await room.prepare(whole, header, MODEL, ALPHA)).width_px == 64
    assert room.statistics().active == 0


async def test_cancellation_waits_for_the_worker(room: Imaging, monkeypatch: pytest.MonkeyPatch) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        started.set()
        release.wait()

    monkeypatch.setattr(room, "_render", slow)
    source = photo()
    prepared = await room.prepare(source, room.inspect(source, ALPHA), MODEL, ALPHA)
    call = asyncio.create_task(room.render(prepared, disc().tobytes(), ALPHA))
    await asyncio.to_thread(started.wait)
    call.cancel()
    await asyncio.sleep(0)
    assert not call.done()
    assert room.statistics().active == 1
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert room.statistics().active == 0


async def test_a_cancelled_call_ends_its_work_before_the_next_result(
    room: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, release = threading.Event(), threading.Event()
    made: list[bytes] = []

    def slow(*_: object) -> bytes:
        made.append(b"file")
        started.set()
        release.wait()
        return made[-1]

    monkeypatch.setattr(render, "encode_file", slow)
    source, outputs = photo(), (OutputSpec(), OutputSpec())
    prepared = await room.prepare(source, room.inspect(source, outputs), MODEL, outputs)
    call = asyncio.create_task(room.render(prepared, disc().tobytes(), outputs))
    await asyncio.to_thread(started.wait)
    call.cancel()
    await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(made) == 1


async def test_an_encoding_is_written_as_asked(room: Imaging) -> None:
    outputs = tuple(OutputSpec(encoding=FileEncoding(f"image/{name}")) for name in ("png", "webp", "jpeg", "avif"))
    room.check_outputs(outputs)
    source = photo()
    prepared = await room.prepare(source, room.inspect(source, outputs), MODEL, outputs)
    rendered = await room.render(prepared, disc().tobytes(), outputs)
    formats = [Image.open(io.BytesIO(output.data)).format for output in rendered.outputs]
    assert formats == ["PNG", "WEBP", "JPEG", "AVIF"]
