# SPDX-License-Identifier: Apache-2.0
"""A large progressive JPEG is decoded through a file of one scan: the same pixels to the bit, or the same refusal."""

import asyncio
import io
import mmap
import os
import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import numpy as np
import pytest
from matting_gateway.domain import OutputSpec
from matting_gateway.errors import GatewayError
from matting_gateway.imaging import libjpeg, one_scan
from matting_gateway.imaging.canvas import give_back_freed
from matting_gateway.imaging.decoders import Decoders
from matting_gateway.imaging.one_scan import in_one_scan
from matting_gateway.imaging.prepare import Prepared
from matting_pixels.arrays import Pixels
from PIL import Image
from testkit.decoding import plan_of, prepared
from testkit.photos import sample_photo
from testkit.process_memory import PeakMemory, resident_bytes
from testkit.profiles import rgb_profile

WIDTH, HEIGHT = 1501, 1003
SCAN, END = b"\xff\xda", b"\xff\xd9"
TURNED = Image.Exif()
TURNED[0x0112] = 6


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(sample_photo(WIDTH, HEIGHT)).convert(mode)
    image.save(out, "JPEG", **{"quality": 90, "progressive": True, "subsampling": 0} | options)
    return out.getvalue()


def ycck() -> bytes:
    content = bytearray(jpeg("CMYK"))
    content[content.index(b"Adobe") + 11] = 2
    return bytes(content)


PHOTO = jpeg()
VARIANTS = {
    "4:4:4": PHOTO,
    "low quality": jpeg(quality=5),
    "high quality": jpeg(quality=100),
    "restart markers": jpeg(restart_marker_blocks=7),
    "RGB": jpeg(keep_rgb=True),
    "CMYK": jpeg("CMYK"),
    "YCCK": ycck(),
    "profile": jpeg(icc_profile=rgb_profile()),
    "turned": jpeg(exif=TURNED),
}


@pytest.fixture
async def decoders() -> AsyncIterator[Decoders]:
    decoders = Decoders(1, base_timeout_s=10.0, aside=asyncio.to_thread)
    await decoders.start()
    yield decoders
    await decoders.close()


@pytest.fixture
def peak() -> Iterator[PeakMemory]:
    peak = PeakMemory([os.getpid()])
    yield peak
    peak.close()


async def shown(decoding: Awaitable[Prepared]) -> Pixels | str:
    """Return the colour, or why there is none."""
    try:
        color = (await decoding).color
    except GatewayError as error:
        return error.reason
    return color if color is not None else "no colour"


@pytest.mark.parametrize("name", VARIANTS)
async def test_the_pixels_are_those_of_the_file_itself(decoders: Decoders, name: str) -> None:
    content = VARIANTS[name]
    plan = plan_of(content)
    written, of_written = in_one_scan(content, plan)
    assert written is not content
    assert bytes(written).count(SCAN) == 1
    assert plan_of(bytes(written)).header.coefficient_bytes == of_written.header.coefficient_bytes == 0
    assert np.array_equal((await decoders.decode(content, plan)).color, prepared(content).color)
    assert decoders.killed_total == 0


@pytest.mark.parametrize("options", [{"subsampling": 1}, {"subsampling": 2}, {"progressive": False}])
def test_a_file_whose_coefficients_are_few_is_decoded_as_it_is(options: dict[str, Any]) -> None:
    content = jpeg(**options)
    assert in_one_scan(content, plan_of(content))[0] is content


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_one_scan_shows_the_same_at_any_sampling(monkeypatch: pytest.MonkeyPatch, subsampling: int) -> None:
    for least in ("_LEAST_COEFFICIENTS_TO_PIXELS", "_LEAST_COEFFICIENT_BYTES"):
        monkeypatch.setattr(one_scan, least, 0)
    content = jpeg(subsampling=subsampling)
    written, _ = in_one_scan(content, plan_of(content))
    assert written is not content
    assert np.array_equal(prepared(bytes(written)).color, prepared(content).color)


def test_a_photo_that_is_scaled_while_it_is_decoded_is_decoded_as_it_is() -> None:
    plan = plan_of(PHOTO, OutputSpec())
    assert plan.reduction > 1
    assert in_one_scan(PHOTO, plan)[0] is PHOTO


def test_a_flat_picture_has_room_for_its_blocks() -> None:
    out = io.BytesIO()
    Image.new("RGB", (2000, 1500), (200, 30, 60)).save(out, "JPEG", progressive=True, subsampling=0)
    written, _ = in_one_scan(out.getvalue(), plan_of(out.getvalue()))
    assert written is not out.getvalue()
    assert np.array_equal(prepared(bytes(written)).color, prepared(out.getvalue()).color)


async def test_a_file_that_lacks_scans_is_decoded_as_it_is(decoders: Decoders) -> None:
    starts = [at for at in range(len(PHOTO)) if PHOTO.startswith(SCAN, at)]
    for start in starts[1:]:
        content = PHOTO[:start] + END
        plan = plan_of(content)
        assert in_one_scan(content, plan)[0] is content
        assert np.array_equal((await decoders.decode(content, plan)).color, prepared(content).color)


async def test_a_file_whose_tables_change_between_scans_is_decoded_as_it_is(decoders: Decoders) -> None:
    at = PHOTO.index(b"\xff\xdb")
    table = bytearray(PHOTO[at : at + 2 + int.from_bytes(PHOTO[at + 2 : at + 4])])
    table[5:] = bytes(reversed(table[5:]))
    last = PHOTO.rindex(SCAN)
    content = PHOTO[:last] + bytes(table) + PHOTO[last:]
    plan = plan_of(content)
    assert in_one_scan(content, plan)[0] is content
    assert np.array_equal((await decoders.decode(content, plan)).color, prepared(content).color)
    assert decoders.killed_total == 0


def test_more_blocks_than_one_scan_may_interleave_are_decoded_as_they_are() -> None:
    content = bytearray(PHOTO)
    frame = content.index(b"\xff\xc2")
    for component in range(3):
        content[frame + 11 + 3 * component] = 0x22
    plan = plan_of(bytes(content))
    assert plan.header.mcu_blocks == 12
    assert in_one_scan(bytes(content), plan)[1] is plan


def damaged(rng: random.Random) -> bytes:
    content = bytearray(PHOTO)
    match rng.randrange(4):
        case 0:
            del content[rng.randrange(len(content)) :]
        case 1:
            content[rng.randrange(len(content)) :] = END
        case 2:
            content[rng.randrange(len(content))] = 0xFF
        case _:
            for _ in range(8):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


async def test_a_damaged_file_is_what_it_is_without_one_scan_and_costs_no_process(decoders: Decoders) -> None:
    rng = random.Random(5)
    for _ in range(30):
        content = damaged(rng)
        try:
            plan = plan_of(content)
        except GatewayError:
            continue
        result = await shown(decoders.decode(content, plan))
        expected = await shown(asyncio.to_thread(prepared, content))
        assert np.array_equal(result, expected)
    assert decoders.killed_total == 0


def test_files_that_libjpeg_gives_up_leave_nothing_behind() -> None:
    last = PHOTO.rindex(SCAN)
    content = PHOTO[:last] + b"\xff\xc0\x00\x02" + PHOTO[last:]
    room = bytearray(len(PHOTO) * 2)
    pid = os.getpid()
    for _ in range(3):
        assert libjpeg.write_baseline(content, room) == 0
    before = resident_bytes(pid)
    for _ in range(20):
        assert libjpeg.write_baseline(content, room) == 0
    assert resident_bytes(pid) - before < 2 << 20


def test_coefficients_are_let_go_as_they_are_written(peak: PeakMemory) -> None:
    content = jpeg("CMYK", quality=100)
    coefficient_bytes = plan_of(content).header.coefficient_bytes
    libjpeg.write_baseline(PHOTO, mmap.mmap(-1, 2 * len(PHOTO)))
    give_back_freed()
    peak.settle()
    with peak:
        length = libjpeg.write_baseline(content, mmap.mmap(-1, 2 * len(content)))
    assert length > 2 << 20
    assert coefficient_bytes * 0.9 < peak.grown_bytes < coefficient_bytes + length // 2


def test_too_little_room_is_no_file() -> None:
    assert libjpeg.write_baseline(PHOTO, bytearray(len(PHOTO) // 3)) == 0
    assert libjpeg.write_baseline(PHOTO, bytearray(2 * len(PHOTO))) > 0


def test_a_library_of_another_interface_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libjpeg, "VERSION", 80)
    libjpeg.load.cache_clear()
    try:
        assert not libjpeg.load()
        assert in_one_scan(PHOTO, plan_of(PHOTO))[0] is PHOTO
    finally:
        libjpeg.load.cache_clear()
