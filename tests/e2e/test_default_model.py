# SPDX-License-Identifier: Apache-2.0
"""Facts about real photos through the real model on a real Triton, at f32."""

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.rpc.settings import DoorSettings
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from numpy.typing import NDArray
from PIL import Image
from testkit.default_model import SAMPLES, Rembg, f32_repository
from testkit.gateway import RunningGateway, running_gateway
from testkit.local_triton import CACHE_DIR
from testkit.long_runs import short_or_long

# Each inference takes all of the processor.
pytestmark = [pytest.mark.triton, pytest.mark.model, pytest.mark.alone]

# None of them has a colour profile: the gateway converts those to sRGB, which rembg ignores.
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "horse.png")
MODEL = "u2net-f32"
COUNT = short_or_long(16, 64)
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def triton_f32(triton_runtime: Runtime) -> Iterator[LocalTriton]:
    # Beside the original, so that the model's file can be linked instead of copied.
    with (
        TemporaryDirectory(prefix="f32-", dir=CACHE_DIR) as folder,
        LocalTriton(triton_runtime, f32_repository(Path(folder)), grace_s=0) as triton,
    ):
        yield triton


def content_of(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


async def alpha_of(running: RunningGateway, content: bytes) -> NDArray[np.uint8]:
    request = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=content))
    answer = await running.stub.RemoveBackground(request, timeout=PATIENCE_S)
    return np.asarray(Image.open(io.BytesIO(answer.outputs[0].encoded.content)))


async def test_with_exact_resizing_the_alpha_is_rembgs_own(triton_f32: LocalTriton) -> None:
    """At most 0.005 of mean absolute difference on each of five photos."""
    rembg = Rembg()
    async with running_gateway(
        triton_f32.grpc_address, default_model=MODEL, imaging=ImagingSettings(exact=True)
    ) as running:
        differences = {}
        for name in PHOTOS:
            ours = await alpha_of(running, content_of(name))
            theirs = await asyncio.to_thread(rembg.mask, Image.open(SAMPLES / name))
            differences[name] = float(np.mean(np.abs(ours.astype(np.float64) - theirs))) / 255
    assert max(differences.values()) <= 0.005, differences


async def test_the_fast_way_stays_close_to_the_exact_one(triton_f32: LocalTriton) -> None:
    alphas = []
    for exact in (True, False):
        async with running_gateway(
            triton_f32.grpc_address, default_model=MODEL, imaging=ImagingSettings(exact=exact)
        ) as running:
            alphas.append([(await alpha_of(running, content_of(name))).astype(np.float64) for name in PHOTOS[:3]])
    assert max(float(np.mean(np.abs(a - b))) / 255 for a, b in zip(*alphas, strict=True)) <= 0.02


async def test_many_at_once_travel_in_batches_and_each_equals_its_answer_alone(
    triton_f32: LocalTriton,
) -> None:
    photos = [content_of(name) for name in PHOTOS]
    # On two slow cores the last of them are answered after about two minutes.
    patient = replace(DoorSettings(), max_residency_s=PATIENCE_S)
    async with running_gateway(triton_f32.grpc_address, default_model=MODEL, door=patient) as running:
        alone = [await alpha_of(running, photo) for photo in photos]
        before = running.metric("matting_batch_size_count", model=MODEL)
        together = await asyncio.gather(*(alpha_of(running, photos[n % len(photos)]) for n in range(COUNT)))
        batch_count = running.metric("matting_batch_size_count", model=MODEL) - before
        assert COUNT / batch_count > 2
        for n, alpha in enumerate(together):
            assert np.array_equal(alpha, alone[n % len(photos)]), PHOTOS[n % len(photos)]
        await running.gateway.frontend.boundary.wait_idle()
        assert running.metric("matting_resident_bytes") == 0


def empty_photos() -> dict[str, NDArray[np.uint8]]:
    """Return photos of nothing: one colour, two that blend, noise."""
    blend = np.linspace((40, 90, 200), (230, 200, 150), 400).astype(np.uint8)
    noise = np.random.default_rng(0).normal(128, 40, (300, 400, 3)).clip(0, 255).astype(np.uint8)
    return {
        **{f"colour {value}": np.full((300, 400, 3), value, np.uint8) for value in (0, 128, 255)},
        "blend": np.tile(blend, (300, 1, 1)),
        "noise": noise,
    }


async def test_photos_with_a_subject_are_told_from_photos_without_one(triton_f32: LocalTriton) -> None:
    files = {
        name: content_of(name) for name in (*PHOTOS, "camera.png", "rocket.jpg", "moon.png", "hubble_deep_field.jpg")
    }
    for name, pixels in empty_photos().items():
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        files[name] = stream.getvalue()
    found = set()
    async with running_gateway(triton_f32.grpc_address, default_model=MODEL) as running:
        for name, content in files.items():
            request = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=content))
            if (await running.stub.RemoveBackground(request, timeout=120)).subject.found:
                found.add(name)
    assert found == {*PHOTOS, "camera.png", "rocket.jpg"}
