# SPDX-License-Identifier: Apache-2.0
"""Facts about real photos through the real model on a real Triton, at f32."""

import asyncio
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
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
COUNT = short_or_long(10, 64)
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def triton_f32(triton_runtime: Runtime) -> Iterator[LocalTriton]:
    # Beside the original, so that the model's file can be linked instead of copied.
    with (
        TemporaryDirectory(prefix="f32-", dir=CACHE_DIR) as folder,
        LocalTriton(triton_runtime, f32_repository(Path(folder)), grace_s=0) as triton,
    ):
        yield triton


@dataclass(frozen=True)
class Answers:
    """What a gateway answered to each of PHOTOS alone."""

    alphas: list[NDArray[np.uint8]]
    found: list[bool]


async def answers_of(triton: LocalTriton, *, exact: bool) -> Answers:
    imaging = ImagingSettings(exact=exact)
    async with running_gateway(triton.grpc_address, default_model=MODEL, imaging=imaging) as running:
        answers = [await answer_of(running, content_of(name)) for name in PHOTOS]
    return Answers([alpha_of(answer) for answer in answers], [answer.subject.found for answer in answers])


@pytest.fixture(scope="module")
def exact(triton_f32: LocalTriton) -> Answers:
    return asyncio.run(answers_of(triton_f32, exact=True))


@pytest.fixture(scope="module")
def fast(triton_f32: LocalTriton) -> Answers:
    return asyncio.run(answers_of(triton_f32, exact=False))


def content_of(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


async def answer_of(running: RunningGateway, content: bytes) -> pb.RemoveBackgroundResponse:
    request = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=content))
    answer: pb.RemoveBackgroundResponse = await running.stub.RemoveBackground(request, timeout=PATIENCE_S)
    return answer


def alpha_of(answer: pb.RemoveBackgroundResponse) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(answer.outputs[0].encoded.content)))


def differences(some: Iterable[NDArray[np.uint8]], others: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
    """Return the mean absolute difference on each of PHOTOS, as a share of the whole range."""
    pairs = zip(PHOTOS, some, others, strict=True)
    return {name: float(np.mean(np.abs(a.astype(np.float64) - b))) / 255 for name, a, b in pairs}


def test_with_exact_resizing_the_alpha_is_rembgs_own(exact: Answers) -> None:
    """At most 0.005 of mean absolute difference on each of five photos."""
    rembg = Rembg()
    found = differences(exact.alphas, (rembg.mask(Image.open(SAMPLES / name)) for name in PHOTOS))
    assert max(found.values()) <= 0.005, found


def test_the_fast_way_stays_close_to_the_exact_one(exact: Answers, fast: Answers) -> None:
    found = differences(exact.alphas, fast.alphas)
    assert max(found.values()) <= 0.02, found


async def test_many_at_once_travel_in_batches_and_each_equals_its_answer_alone(
    triton_f32: LocalTriton, fast: Answers
) -> None:
    photos = [content_of(name) for name in PHOTOS]
    # On two slow cores the last of them are answered after about two minutes.
    patient = replace(DoorSettings(), max_residency_s=PATIENCE_S)
    async with running_gateway(triton_f32.grpc_address, default_model=MODEL, door=patient) as running:
        together = await asyncio.gather(*(answer_of(running, photos[n % len(photos)]) for n in range(COUNT)))
        batch_count = running.metric("matting_batch_size_count", model=MODEL)
        assert COUNT / batch_count > 2
        for n, answer in enumerate(together):
            assert np.array_equal(alpha_of(answer), fast.alphas[n % len(photos)]), PHOTOS[n % len(photos)]
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


async def test_photos_with_a_subject_are_told_from_photos_without_one(triton_f32: LocalTriton, fast: Answers) -> None:
    files = {name: content_of(name) for name in ("camera.png", "rocket.jpg", "moon.png", "hubble_deep_field.jpg")}
    for name, pixels in empty_photos().items():
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        files[name] = stream.getvalue()
    async with running_gateway(triton_f32.grpc_address, default_model=MODEL) as running:
        found = {name for name, content in files.items() if (await answer_of(running, content)).subject.found}
    assert all(fast.found)
    assert found == {"camera.png", "rocket.jpg"}
