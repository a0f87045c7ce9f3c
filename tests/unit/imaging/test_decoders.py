# SPDX-License-Identifier: Apache-2.0
"""Decoder processes: what they return, and what a bad photo can do to them."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from matting_gateway.errors import ImageTooLargeError, ImageUnreadableError
from matting_gateway.imaging.decoders import DecoderProcess, Decoders
from matting_gateway.imaging.plan import DecodePlan, decoder_memory_bytes
from PIL import Image
from testkit.decoding import plan_of, prepared
from testkit.image_seeds import seeds
from testkit.pngs import write_png

SEEDS = dict(seeds())
PHOTO = SEEDS["JPEG RGB 0"]
ENOUGH_BYTES = 256 << 20


@pytest.fixture
def process() -> Iterator[DecoderProcess]:
    process = DecoderProcess()
    process.wait_ready()
    yield process
    process.kill()


def decode(process: DecoderProcess, content: bytes, plan: DecodePlan | None = None) -> None:
    process.decode(content, plan or plan_of(content), ENOUGH_BYTES, 10.0)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_every_format_decodes_in_the_sandbox_to_what_it_is_outside(process: DecoderProcess) -> None:
    assert process.filtered
    for name, content in SEEDS.items():
        inside = process.decode(content, plan_of(content), ENOUGH_BYTES, 10.0)
        outside = prepared(content)
        for part in ("model_pixels", "color", "alpha"):
            one, other = getattr(inside, part), getattr(outside, part)
            assert (one is None) == (other is None), (name, part)
            assert one is None or (one.dtype == other.dtype and np.array_equal(one, other)), (name, part)


def test_the_pixels_outlive_the_process_that_made_them(process: DecoderProcess) -> None:
    result = process.decode(PHOTO, plan_of(PHOTO), ENOUGH_BYTES, 10.0)
    process.kill()
    assert np.array_equal(result.color, prepared(PHOTO).color)


def test_no_descriptor_is_left_behind(process: DecoderProcess) -> None:
    decode(process, PHOTO)
    before = open_files()
    for _ in range(20):
        decode(process, PHOTO)
        with pytest.raises(ImageUnreadableError):
            decode(process, PHOTO[:300], plan_of(PHOTO))
    assert open_files() == before


def test_a_large_photo_after_a_small_one_has_its_own_limit(process: DecoderProcess) -> None:
    small = plan_of(PHOTO)
    process.decode(PHOTO, small, decoder_memory_bytes(small), 10.0)
    out = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(out, "PNG")
    plan = plan_of(out.getvalue())
    result = process.decode(out.getvalue(), plan, decoder_memory_bytes(plan), 30.0)
    assert result.color is not None
    assert result.color.shape == (7000, 7000, 3)


def test_a_decoder_is_refused_more_memory_than_a_photo_may_need(process: DecoderProcess) -> None:
    content = write_png(np.zeros((4000, 5000, 3), np.uint16), 2, 8)
    # Some decoders say that memory is short, others that the file is broken.
    with pytest.raises((ImageTooLargeError, ImageUnreadableError)):
        process.decode(content, plan_of(content), 0, 10.0)
    decode(process, content)
    decode(process, PHOTO)


def test_a_decoder_that_hangs_costs_one_photo() -> None:
    decoders = Decoders(1, base_timeout_s=0.2)
    decoders.start()
    try:
        hung = decoders._idle.get()
        assert hung is not None
        os.kill(hung.pid, signal.SIGSTOP)
        decoders._idle.put(hung)
        with pytest.raises(ImageUnreadableError, match=r"could not be decoded within 0\.2 s"):
            decoders.decode(PHOTO, plan_of(PHOTO))
        assert decoders.decode(PHOTO, plan_of(PHOTO)).color is not None
        assert decoders.killed_total == 1
    finally:
        decoders.close()


def test_a_decoder_that_crashes_costs_one_photo() -> None:
    decoders = Decoders(1, base_timeout_s=10.0)
    decoders.start()
    try:
        doomed = decoders._idle.get()
        assert doomed is not None
        decoders._idle.put(doomed)
        os.kill(doomed.pid, signal.SIGSTOP)
        # Killed while it has the photo: it is stopped until then, so it cannot have answered.
        killer = threading.Timer(0.2, os.kill, (doomed.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(ImageUnreadableError, match="made its decoder fail"):
            decoders.decode(PHOTO, plan_of(PHOTO))
        killer.join()
        assert decoders.decode(PHOTO, plan_of(PHOTO)).color is not None
    finally:
        decoders.close()


def test_a_decoder_that_died_while_idle_costs_no_photo() -> None:
    decoders = Decoders(1, base_timeout_s=10.0)
    decoders.start()
    try:
        dead = decoders._idle.get()
        assert dead is not None
        dead._child.kill()
        dead._child.wait()
        decoders._idle.put(dead)
        assert decoders.decode(PHOTO, plan_of(PHOTO)).color is not None
    finally:
        decoders.close()


def test_a_decoder_ends_with_its_parent() -> None:
    process = DecoderProcess()
    process.wait_ready()
    process._connection.close()
    assert process._child.wait(10.0) == 0


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('/tmp/written', 'w')",
        "__import__('socket').socket()",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.listdir('/')",
    ],
)
def test_the_sandbox_refuses_what_decoding_does_not_need(attempt: str) -> None:
    program = (
        "import os, socket\n"
        "from matting_gateway.imaging.sandbox import enter_sandbox\n"
        "assert enter_sandbox()\n"
        f"try:\n    {attempt}\nexcept PermissionError:\n    os._exit(7)\n"
        "os._exit(0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 7
