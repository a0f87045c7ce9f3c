# SPDX-License-Identifier: Apache-2.0
"""What is reserved for a photo covers what it takes, measured over the gateway's and the worker's process."""

import ctypes
import functools
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import (
    ColorBackground,
    CropSpec,
    Decontamination,
    EncodedPhoto,
    FileEncoding,
    OutputKind,
    OutputSpec,
    RawEncoding,
    Refinement,
)
from matting_gateway.imaging.service import ImagingService
from testkit.imaging import open_room, take
from testkit.long_runs import short_or_long
from testkit.photo_files import photo_files
from testkit.photos import ellipse
from testkit.process_memory import PeakMemory

WIDTH, HEIGHT = short_or_long((1600, 1200), (2000, 1500))
MODEL = ModelInput(64, 64)
NAMES = tuple(photo_files(16, 16))
GREEN = ColorBackground(0, 99, 0)


def spec(kind: OutputKind, mime_type: str = "image/png", **options: Any) -> OutputSpec:
    return OutputSpec(kind=kind, encoding=options.pop("encoding", FileEncoding(mime_type)), **options)


CUTOUT = spec(OutputKind.CUTOUT)
OUTPUTS = {
    "alpha": spec(OutputKind.ALPHA),
    "alpha guided": spec(OutputKind.ALPHA, refinement=Refinement.GUIDED),
    "alpha solved": spec(OutputKind.ALPHA, refinement=Refinement.MATTING),
    "alpha WebP": spec(OutputKind.ALPHA, "image/webp"),
    "cutout fine": spec(
        OutputKind.CUTOUT, refinement=Refinement.GUIDED, decontamination=Decontamination.BLUR_FUSION, crop=CropSpec()
    ),
    "cutout small": spec(OutputKind.CUTOUT, max_side_px=900),
    "cutout raw": spec(OutputKind.CUTOUT, encoding=RawEncoding()),
    "cutout WebP": spec(OutputKind.CUTOUT, "image/webp"),
    "cutout WebP lossless": spec(OutputKind.CUTOUT, encoding=FileEncoding("image/webp", lossless=True)),
    "cutout AVIF": spec(OutputKind.CUTOUT, "image/avif"),
    "composite": spec(OutputKind.COMPOSITE, background=GREEN),
    "composite JPEG": spec(OutputKind.COMPOSITE, "image/jpeg", background=GREEN),
}
# What is read, what is written, and at most how many times the photo's decoded size that may take.
ONE_OF_EACH_CODEC = [
    ("JPEG", "alpha", 1),
    ("JPEG, progressive, CMYK", "cutout", 5),
    ("JPEG", "cutout WebP", 3),
    ("AVIF, alpha", "cutout", 6),
]


@functools.cache
def file_of(name: str) -> bytes:
    return photo_files(WIDTH, HEIGHT, name)[name]


@pytest.fixture
async def room() -> AsyncIterator[ImagingService]:
    async with open_room() as room:
        await send(room, photo_files(64, 64, "JPEG")["JPEG"], CUTOUT)
        yield room


@pytest.fixture
def peak(room: ImagingService) -> Iterator[PeakMemory]:
    peak = PeakMemory([os.getpid(), *(handle.pid for handle in room._workers._states)])
    yield peak
    peak.close()


async def send(room: ImagingService, content: bytes, output: OutputSpec) -> None:
    await take(room, content, ellipse(MODEL.width_px, MODEL.height_px, 0.46).tobytes(), output, model=MODEL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "output"), [(name, CUTOUT) for name in NAMES] + [("JPEG", o) for o in OUTPUTS.values()]
)
async def test_the_bytes_reserved_cover_what_a_photo_takes(
    room: ImagingService, peak: PeakMemory, name: str, output: OutputSpec
) -> None:
    content = file_of(name)
    photo = EncodedPhoto(content)
    reserved = room.inspect(photo, (output,)).working_bytes((output,), MODEL)
    ctypes.CDLL(None).malloc_trim(0)
    peak.settle()
    with peak:
        await send(room, content, output)
    assert peak.grown_bytes <= reserved, f"{peak.grown_bytes / 1e6:.0f} MB of {reserved / 1e6:.0f}"
    # What is reserved keeps other photos out: far too much would be wrong as well.
    assert reserved <= 4 * peak.grown_bytes + (40 << 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "result", "times"),
    short_or_long(
        ONE_OF_EACH_CODEC,
        [
            *ONE_OF_EACH_CODEC,
            ("JPEG", "cutout", 3),
            ("JPEG, progressive", "cutout", 3),
            ("JPEG, progressive, 4:4:4", "cutout", 4),
            ("JPEG, progressive, 4:2:2", "cutout", 3),
            ("JPEG, progressive, RGB", "cutout", 4),
            ("JPEG", "cutout fine", 3),
            ("JPEG", "cutout WebP lossless", 3),
            ("JPEG", "composite JPEG", 3),
            ("AVIF", "cutout", 5),
        ],
    ),
)
async def test_a_photo_of_12_megapixels_takes_a_few_times_its_decoded_size_at_most(
    room: ImagingService, peak: PeakMemory, name: str, result: str, times: int
) -> None:
    content = photo_files(4000, 3000, name)[name]
    ctypes.CDLL(None).malloc_trim(0)
    peak.settle()
    with peak:
        await send(room, content, OUTPUTS.get(result, CUTOUT))
    assert peak.grown_bytes <= times * 3 * 4000 * 3000
