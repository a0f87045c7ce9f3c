# SPDX-License-Identifier: Apache-2.0
"""Decoder processes: what they return, and what a bad photo can do to them."""

import asyncio
import errno
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import numpy as np
import pytest
from matting_gateway.errors import ImageTooLargeError, ImageUnreadableError, InternalError
from matting_gateway.imaging.cancellation import outlast_cancellation
from matting_gateway.imaging.decoder_child import DecoderProcess
from matting_gateway.imaging.decoders import Decoders
from matting_gateway.imaging.plan import DecodePlan, decoder_memory_bytes
from matting_gateway.imaging.prepare import Prepared
from PIL import Image
from testkit.decoding import plan_of, prepared
from testkit.image_seeds import seeds
from testkit.pngs import write_png

SEEDS = dict(seeds())
PHOTO = SEEDS["JPEG RGB 0"]
ENOUGH_BYTES = 256 << 20
T = TypeVar("T")


@pytest.fixture
def process() -> Iterator[DecoderProcess]:
    process = DecoderProcess()
    process.wait_ready()
    yield process
    process.kill()


async def decode(
    process: DecoderProcess,
    content: bytes,
    plan: DecodePlan | None = None,
    *,
    memory_bytes: int = ENOUGH_BYTES,
    timeout_s: float = 10.0,
) -> Prepared:
    return await process.decode(content, plan or plan_of(content), memory_bytes, timeout_s, asyncio.to_thread)


@asynccontextmanager
async def one_decoder(base_timeout_s: float = 10.0) -> AsyncIterator[Decoders]:
    decoders = Decoders(1, base_timeout_s=base_timeout_s, aside=asyncio.to_thread)
    await decoders.start()
    try:
        yield decoders
    finally:
        await decoders.close()


def only(decoders: Decoders) -> DecoderProcess:
    """Return the process that is idle, which it stays."""
    (process,) = decoders._idle
    return process


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_every_format_decodes_in_the_sandbox_to_what_it_is_outside(process: DecoderProcess) -> None:
    assert process.filtered
    for name, content in SEEDS.items():
        inside = await decode(process, content)
        outside = prepared(content)
        for part in ("model_pixels", "color", "alpha"):
            one, other = getattr(inside, part), getattr(outside, part)
            assert (one is None) == (other is None), (name, part)
            assert one is None or (one.dtype == other.dtype and np.array_equal(one, other)), (name, part)


async def test_the_pixels_outlive_the_process_that_made_them(process: DecoderProcess) -> None:
    result = await decode(process, PHOTO)
    process.kill()
    assert result.color is not None
    assert np.array_equal(result.color, prepared(PHOTO).color)


async def test_no_descriptor_is_left_behind(process: DecoderProcess) -> None:
    await decode(process, PHOTO)
    before = open_files()
    for _ in range(20):
        await decode(process, PHOTO)
        with pytest.raises(ImageUnreadableError):
            await decode(process, PHOTO[:300], plan_of(PHOTO))
    assert open_files() == before


async def test_a_large_photo_after_a_small_one_has_its_own_limit(process: DecoderProcess) -> None:
    await decode(process, PHOTO, memory_bytes=decoder_memory_bytes(plan_of(PHOTO)))
    out = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(out, "PNG")
    plan = plan_of(out.getvalue())
    result = await decode(process, out.getvalue(), plan, memory_bytes=decoder_memory_bytes(plan), timeout_s=30.0)
    assert result.color is not None
    assert result.color.shape == (7000, 7000, 3)


async def test_a_file_too_large_to_be_copied_at_once_is_copied_aside(process: DecoderProcess) -> None:
    content = write_png(np.random.default_rng(0).integers(0, 256, (1000, 700, 3), np.uint8), 2, 8)
    assert len(content) > 1 << 20
    threads: list[int] = []

    async def aside(work: Callable[[], T]) -> T:
        return await asyncio.to_thread(lambda: (threads.append(threading.get_ident()), work())[1])

    result = await process.decode(content, plan_of(content), ENOUGH_BYTES, 10.0, aside)
    assert result.color is not None
    assert np.array_equal(result.color, prepared(content).color)
    assert len(threads) == 2  # the file in, the pixels out
    assert threading.get_ident() not in threads


async def test_a_decoder_is_refused_more_memory_than_a_photo_may_need(process: DecoderProcess) -> None:
    content = write_png(np.zeros((4000, 5000, 3), np.uint16), 2, 8)
    # Some decoders say that memory is short, others that the file is broken.
    with pytest.raises((ImageTooLargeError, ImageUnreadableError)):
        await decode(process, content, memory_bytes=0)
    await decode(process, content)
    await decode(process, PHOTO)


async def test_a_decoder_that_hangs_costs_one_photo() -> None:
    async with one_decoder(base_timeout_s=0.2) as decoders:
        os.kill(only(decoders).pid, signal.SIGSTOP)
        with pytest.raises(ImageUnreadableError, match=r"could not be decoded within 0\.2 s"):
            await decoders.decode(PHOTO, plan_of(PHOTO))
        assert (await decoders.decode(PHOTO, plan_of(PHOTO))).color is not None
        assert decoders.killed_total == 1


async def test_a_decoder_that_crashes_costs_one_photo() -> None:
    async with one_decoder() as decoders:
        doomed = only(decoders)
        os.kill(doomed.pid, signal.SIGSTOP)
        # Killed while it has the photo: it is stopped until then, so it cannot have answered.
        asyncio.get_running_loop().call_later(0.2, os.kill, doomed.pid, signal.SIGKILL)
        with pytest.raises(ImageUnreadableError, match="made its decoder fail"):
            await decoders.decode(PHOTO, plan_of(PHOTO))
        assert (await decoders.decode(PHOTO, plan_of(PHOTO))).color is not None


async def test_a_decoder_that_died_while_idle_costs_no_photo() -> None:
    async with one_decoder() as decoders:
        dead = only(decoders)
        dead._child.kill()
        dead._child.wait()
        assert (await decoders.decode(PHOTO, plan_of(PHOTO))).color is not None


async def test_who_gives_up_is_let_go_when_the_decoder_is_free_again() -> None:
    """Until then the photo is in memory, and its caller answers for that."""
    async with one_decoder() as decoders:
        process = only(decoders)
        os.kill(process.pid, signal.SIGSTOP)
        given_up = asyncio.create_task(decoders.decode(PHOTO, plan_of(PHOTO)))
        waiting = asyncio.create_task(decoders.decode(PHOTO, plan_of(PHOTO)))
        await asyncio.sleep(0)  # both begin
        assert not decoders._idle
        given_up.cancel()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not given_up.done()
        os.kill(process.pid, signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert only(decoders) is process
        assert (await decoders.decode(PHOTO, plan_of(PHOTO))).color is not None
        assert decoders.killed_total == 0


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_photo() -> None:
    other = SEEDS["WEBP RGB 0"]
    async with one_decoder(base_timeout_s=0.2) as decoders:
        process = only(decoders)
        os.kill(process.pid, signal.SIGSTOP)
        given_up = asyncio.create_task(decoders.decode(PHOTO, plan_of(PHOTO)))
        await asyncio.sleep(0)  # it begins
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up  # which takes as long as a decoder is waited for
        assert process._child.returncode == -signal.SIGKILL  # before its caller was let go, whose photo it had
        result = await decoders.decode(other, plan_of(other))
        assert result.color is not None
        assert np.array_equal(result.color, prepared(other).color)
        assert decoders.killed_total == 1


async def test_decoders_that_do_not_start_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = Decoders(2, base_timeout_s=10.0, aside=asyncio.to_thread)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(InternalError, match="did not start"):
            await decoders.start()
    await decoders.close()


async def test_photos_are_decoded_in_the_order_in_which_they_came() -> None:
    async with one_decoder() as decoders:
        done: list[str] = []

        async def photo(name: str, pictures: int = 1) -> None:
            for _ in range(pictures):
                await decoders.decode(PHOTO, plan_of(PHOTO))
                done.append(name)

        await asyncio.gather(photo("many", 3), photo("first"), photo("second"))
        assert done == ["many", "first", "second", "many", "many"]


async def test_what_the_system_refuses_is_not_the_photos_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    async with one_decoder() as decoders:
        before = open_files()
        with monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", refuse)
            with pytest.raises(InternalError, match="no descriptor"):
                await decoders.decode(PHOTO, plan_of(PHOTO))
        assert open_files() == before
        assert decoders.killed_total == 0
        only(decoders)._child.kill()
        only(decoders)._child.wait()
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", refuse)
            with pytest.raises(InternalError, match="could be started"):
                await decoders.decode(PHOTO, plan_of(PHOTO))
        assert (await decoders.decode(PHOTO, plan_of(PHOTO))).color is not None


async def test_a_process_started_for_a_photo_that_was_given_up_serves_the_next() -> None:
    begun, go_on = threading.Event(), threading.Event()

    async def aside(work: Callable[[], T]) -> T:
        def slow() -> T:
            begun.set()
            go_on.wait(10)
            return work()

        future = asyncio.get_running_loop().run_in_executor(None, slow)
        return await outlast_cancellation(future)

    decoders = Decoders(1, base_timeout_s=10.0, aside=aside)
    go_on.set()
    await decoders.start()
    try:
        dead = only(decoders)
        begun.clear(), go_on.clear()
        dead._child.kill()
        dead._child.wait()
        given_up = asyncio.create_task(decoders.decode(PHOTO, plan_of(PHOTO)))
        await asyncio.to_thread(begun.wait, 10)
        given_up.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await decoders.decode(PHOTO, plan_of(PHOTO))).color is not None
    finally:
        await decoders.close()


async def test_closing_waits_for_what_is_being_decoded_and_takes_nothing_new() -> None:
    decoders = Decoders(1, base_timeout_s=10.0, aside=asyncio.to_thread)
    await decoders.start()
    process = only(decoders)
    os.kill(process.pid, signal.SIGSTOP)
    photos = [asyncio.create_task(decoders.decode(PHOTO, plan_of(PHOTO))) for _ in range(2)]
    await asyncio.sleep(0)  # both begin
    closing = asyncio.create_task(decoders.close())
    await asyncio.sleep(0)
    with pytest.raises(InternalError):
        await decoders.decode(PHOTO, plan_of(PHOTO))
    os.kill(process.pid, signal.SIGCONT)
    assert all(photo.color is not None for photo in await asyncio.gather(*photos))
    await closing
    assert not process.is_fit()


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
