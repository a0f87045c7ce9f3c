# SPDX-License-Identifier: Apache-2.0
"""Imaging workers: what they return, what a bad photo can do to them, and what is left when they end."""

import asyncio
import contextlib
import errno
import gc
import io
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from matting_gateway.clock import SystemClock
from matting_gateway.domain.photo import EncodedPhoto, FileEncoding, OutputKind, OutputSpec, PictureBackground
from matting_gateway.errors import (
    DeadlineExpiredError,
    GatewayError,
    ImageTooLargeError,
    ImageUnreadableError,
    InternalError,
)
from matting_gateway.imaging import service as room_module
from matting_gateway.imaging.dispatch.backlog import PhotoWork
from matting_gateway.imaging.service import ImagingService
from matting_gateway.imaging.settings import ImagingSettings
from PIL import Image
from testkit.decoding import color_of, prepared
from testkit.image_seeds import seeds
from testkit.imaging import CUTOUT, MODEL, ONE_WORKER, kept, open_room, prepare, take
from testkit.pngs import write_png

SEEDS = dict(seeds())
PHOTO = SEEDS["JPEG RGB 0"]
MATTE = bytes(range(256)) * 4
NONSENSE = (
    b"nonsense",
    b"[1]",
    b"[" * 8000,
    b'{"kept": [[1, 2]]}',
    b'{"kept": []}',
    b'{"results": [[0, 10, 4, 4]], "box": null, "area_share": 0.0}',
    b'{"results": [[4096000000, 10, 4, 4]], "box": null, "area_share": 0.0}',
    b'{"results": [[-1, 10, 4, 4]], "box": null, "area_share": 0.0}',
    b'{"results": [[8192, 10, 4, 4]], "box": [1], "area_share": NaN}',
)
# A second, so that a worker in order is never too late, whatever runs beside it.
IMPATIENT = replace(ONE_WORKER, worker_timeout_s=1.0)


def workers(room: ImagingService) -> list[psutil.Process]:
    return [psutil.Process(handle.pid) for handle in room._workers._states]


def only(room: ImagingService) -> psutil.Process:
    (process,) = workers(room)
    return process


def end(process: psutil.Process) -> None:
    """Kill a process and wait until it has ended, which its gateway is to find out by itself."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def open_files() -> Counter[str]:
    """Return how many of each kind are open here; of what earlier tests had open some may still be closed."""
    gc.collect()
    files = Counter[str]()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of this very look, and what is just being closed
            files[os.readlink(path).partition(":[")[0]] += 1
    return files


def maps(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.slow
async def test_every_format_decodes_in_the_sandbox_to_what_it_is_outside() -> None:
    async with open_room() as room:
        assert room._workers.filtered
        for name, content in SEEDS.items():
            outside = prepared(content)
            with await prepare(room, content) as photo:
                inside = kept(photo)
                for part in ("model_pixels", "color", "alpha"):
                    one, other = getattr(inside, part), getattr(outside, part)
                    assert (one is None) == (other is None), (name, part)
                    assert one is None or (one.dtype == other.dtype and np.array_equal(one, other)), (name, part)
                del inside, one


@pytest.mark.slow
async def test_every_format_is_written_in_the_sandbox() -> None:
    encodings = [FileEncoding(f"image/{name}") for name in ("png", "webp", "jpeg", "avif")]
    outputs = [OutputSpec(encoding=encoding) for encoding in [*encodings, FileEncoding("image/webp", lossless=True)]]
    async with open_room() as room:
        rendered = await take(room, PHOTO, MATTE, *outputs)
        files = [Image.open(io.BytesIO(output.data)).format for output in rendered.outputs]
        assert files == ["PNG", "WEBP", "JPEG", "AVIF", "WEBP"]


@pytest.mark.slow
async def test_results_outlive_the_file_and_the_worker_that_made_them() -> None:
    async with open_room() as room:
        rendered = await take(room, PHOTO, MATTE)
    assert Image.open(io.BytesIO(rendered.outputs[0].data)).mode == "RGBA"


@pytest.mark.slow
async def test_no_descriptor_is_left_behind_and_no_photo_stays_mapped_in_a_worker() -> None:
    async with open_room() as room:
        await take(room, PHOTO, MATTE)
        before = open_files()
        for _ in range(10):
            await take(room, PHOTO, MATTE)
            with pytest.raises(ImageUnreadableError):
                await take(room, EncodedPhoto(PHOTO[:300] + bytes(300)), MATTE)
        assert open_files() <= before
        assert "memfd:photo" not in maps(only(room))


@pytest.mark.slow
async def test_between_the_two_steps_no_worker_has_the_photo() -> None:
    async with open_room() as room:
        with await prepare(room, PHOTO) as photo:
            assert "memfd:photo" not in maps(only(room))
            await room.render(photo, MATTE)


@pytest.mark.slow
async def test_a_file_can_be_made_neither_shorter_nor_longer_by_who_is_handed_it() -> None:
    async with open_room() as room:
        with await prepare(room, PHOTO) as photo:
            for length in (0, photo.file.byte_count + 4096):
                with pytest.raises(PermissionError):
                    os.ftruncate(photo.file.descriptor, length)


@pytest.mark.slow
async def test_a_large_photo_after_a_small_one_has_its_own_limit() -> None:
    out = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(out, "PNG")
    async with open_room(replace(ONE_WORKER, worker_timeout_s=10.0)) as room:
        await take(room, PHOTO, MATTE)
        with await prepare(room, out.getvalue()) as photo:
            color = kept(photo).color
            assert color is not None
            assert color.shape == (7000, 7000, 3)
            del color


@pytest.mark.slow
async def test_a_worker_is_refused_more_memory_than_a_photo_may_need(monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_png(np.zeros((4000, 5000, 3), np.uint16), 2, 8)
    async with open_room(replace(ONE_WORKER, worker_timeout_s=10.0)) as room:
        with monkeypatch.context() as patch:
            patch.setattr(room_module, "step_memory_bytes", lambda *_: 0)
            # Some decoders say that memory is short, others that the file is broken.
            with pytest.raises((ImageTooLargeError, ImageUnreadableError)):
                await prepare(room, content)
        for photo in (content, PHOTO):
            (await prepare(room, photo)).file.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "error", "words"),
    [
        (None, ImageUnreadableError, r"could not be decoded within 1\.0 s"),
        (signal.SIGSEGV, ImageUnreadableError, "made its decoder fail"),
        (signal.SIGKILL, InternalError, "was killed; ask again"),
    ],
)
async def test_a_worker_that_hangs_crashes_or_is_killed_while_it_decodes_costs_one_photo(
    sent: signal.Signals | None, error: type[GatewayError], words: str
) -> None:
    async with open_room(IMPATIENT) as room:
        doomed = only(room)
        # It is stopped while it has the photo, so it cannot have answered.
        doomed.suspend()

        def strike(sent: signal.Signals) -> None:
            doomed.send_signal(sent)
            doomed.resume()  # what was sent before comes first

        if sent is not None:
            asyncio.get_running_loop().call_later(0.05, strike, sent)
        before = open_files()
        with pytest.raises(error, match=words):
            await take(room, PHOTO, MATTE)
        assert not doomed.is_running()  # before its caller is let go, whose photo it had
        await asyncio.gather(*(state.ready for state in room._workers._states.values()))
        assert open_files() <= before
        assert (await take(room, PHOTO, MATTE)).subject.found
        assert room.statistics().killed_total == 1


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_worker_that_hangs_or_dies_while_it_renders_costs_one_photo(sent: signal.Signals) -> None:
    async with open_room(IMPATIENT) as room:
        with await prepare(room, PHOTO) as photo:
            doomed = only(room)
            doomed.suspend()
            if sent is signal.SIGKILL:
                asyncio.get_running_loop().call_later(0.05, doomed.kill)
            with pytest.raises(InternalError, match="ask again"):
                await room.render(photo, MATTE)
            assert not doomed.is_running()
        assert (await take(room, PHOTO, MATTE)).subject.found


@pytest.mark.slow
async def test_a_worker_that_dies_between_decoding_and_rendering_costs_nothing() -> None:
    async with open_room() as room:
        expected = await take(room, PHOTO, MATTE)
        with await prepare(room, PHOTO) as photo:
            end(only(room))
            rendered = await room.render(photo, MATTE)
        assert bytes(rendered.outputs[0].data) == bytes(expected.outputs[0].data)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["decode", "render"])
async def test_a_worker_that_answers_nonsense_is_replaced(step: str) -> None:
    async with open_room() as room:
        for answer in NONSENSE:
            with await prepare(room, PHOTO) as photo:
                mad = only(room)
                mad.suspend()
                call = asyncio.create_task(take(room, PHOTO, MATTE) if step == "decode" else room.render(photo, MATTE))
                await asyncio.sleep(0)  # it begins
                (handle,) = room._workers._states
                room._workers._told(handle, answer)
                with pytest.raises(ImageUnreadableError if step == "decode" else InternalError):
                    await call
                assert not mad.is_running(), answer
                await room.render(photo, MATTE)


@pytest.mark.slow
async def test_a_worker_that_speaks_unasked_is_replaced() -> None:
    async with open_room() as room:
        (handle,) = room._workers._states
        room._workers._told(handle, b'{"kept": [[false, false]]}')
        assert (await take(room, PHOTO, MATTE)).subject.found
        assert room.statistics().killed_total == 1


@pytest.mark.slow
async def test_a_result_larger_than_the_room_kept_for_it_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_room() as room:
        with monkeypatch.context() as patch:
            patch.setattr("matting_gateway.imaging.plan_job.result_bytes", lambda *_, **__: 10)
            with pytest.raises(InternalError, match="could not be made"):
                await take(room, PHOTO, MATTE)
        assert (await take(room, PHOTO, MATTE)).subject.found
        assert room.statistics().killed_total == 0


@pytest.mark.slow
async def test_a_worker_that_died_while_idle_costs_no_photo() -> None:
    async with open_room() as room:
        end(only(room))
        assert (await take(room, PHOTO, MATTE)).subject.found


@pytest.mark.slow
async def test_who_gives_up_is_let_go_when_the_worker_has_let_go_of_the_photo() -> None:
    """Until then the photo is in memory, and its caller answers for that."""
    async with open_room() as room:
        process = only(room)
        process.suspend()
        before = open_files()
        given_up, waiting = (asyncio.create_task(take(room, PHOTO, MATTE)) for _ in range(2))
        await asyncio.sleep(0)  # both begin
        assert room.statistics().waiting == 1
        given_up.cancel()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not given_up.done()
        process.resume()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        del given_up, waiting  # and the frames that their errors hold
        await asyncio.sleep(0)  # what has been told of their end is let go
        assert open_files() <= before
        assert only(room) == process
        assert (await take(room, PHOTO, MATTE)).subject.found


@pytest.mark.slow
async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_photo() -> None:
    async with open_room(IMPATIENT) as room:
        process = only(room)
        process.suspend()
        given_up = asyncio.create_task(take(room, PHOTO, MATTE))
        await asyncio.sleep(0)  # it begins
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up  # which takes as long as a worker is waited for
        assert not process.is_running()
        with await prepare(room, SEEDS["WEBP RGB 0"]) as photo:
            assert np.array_equal(color_of(kept(photo)), color_of(prepared(SEEDS["WEBP RGB 0"])))


async def test_workers_that_do_not_start_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    room = ImagingService(ImagingSettings(worker_count=2), clock=SystemClock())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(InternalError, match="could be started"):
            await room.start()
    await room.close()


@pytest.mark.slow
async def test_what_waits_is_rendered_before_it_is_decoded_and_goes_by_deadline() -> None:
    async with open_room() as room:
        with await prepare(room, PHOTO) as decoded:
            process = only(room)
            process.suspend()
            done: list[str] = []
            photo = EncodedPhoto(PHOTO)

            async def decode(name: str, deadline_s: float) -> None:
                header = room.inspect(photo, (CUTOUT,))
                with await room.prepare(photo, header, MODEL, (CUTOUT,), PhotoWork(deadline_s)):
                    done.append(name)

            async def render(name: str, deadline_s: float) -> None:
                await room.render(replace(decoded, work=PhotoWork(deadline_s)), MATTE)
                done.append(name)

            now_s = SystemClock().now()
            first = asyncio.create_task(decode("first", now_s + 90))
            await asyncio.sleep(0)
            rest = [
                asyncio.create_task(decode("late", now_s + 80)),
                asyncio.create_task(decode("soon", now_s + 70)),
                asyncio.create_task(render("rendered late", now_s + 99)),
                asyncio.create_task(render("rendered soon", now_s + 95)),
            ]
            await asyncio.sleep(0)
            process.resume()
            await asyncio.gather(first, *rest)
            assert done == ["first", "rendered soon", "rendered late", "soon", "late"]


@pytest.mark.slow
async def test_who_can_no_longer_be_in_time_is_not_begun() -> None:
    async with open_room() as room:
        process = only(room)
        process.suspend()
        busy = asyncio.create_task(take(room, PHOTO, MATTE))
        await asyncio.sleep(0)
        photo, before = EncodedPhoto(PHOTO), room.statistics().prepared_total
        late = PhotoWork(SystemClock().now(), hopeful=False)
        hopeless = room.prepare(photo, room.inspect(photo, (CUTOUT,)), MODEL, (CUTOUT,), late)
        waiting = asyncio.create_task(hopeless)
        await asyncio.sleep(0)
        process.resume()
        with pytest.raises(DeadlineExpiredError, match="waited for an imaging worker"):
            await waiting
        await busy
        assert room.statistics().prepared_total == before + 1


@pytest.mark.slow
async def test_what_the_system_refuses_is_not_the_photos_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    async with open_room() as room:
        before = open_files()
        for name in ("memfd_create", "ftruncate", "pwrite"):
            with monkeypatch.context() as patch:
                patch.setattr(os, name, refuse)
                with pytest.raises(InternalError, match="no descriptor"):
                    await take(room, PHOTO, MATTE)
            assert open_files() <= before
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", refuse)
            end(only(room))
            with pytest.raises(InternalError, match="could be started"):
                await take(room, PHOTO, MATTE)
        assert (await take(room, PHOTO, MATTE)).subject.found


@pytest.mark.slow
async def test_closing_waits_for_what_is_in_work_and_takes_nothing_new() -> None:
    room = ImagingService(ImagingSettings(worker_count=1), clock=SystemClock())
    await room.start()
    process = only(room)
    process.suspend()
    photos = [asyncio.create_task(prepare(room, PHOTO)) for _ in range(2)]
    await asyncio.sleep(0)  # both begin
    closing = asyncio.create_task(room.close())
    await asyncio.sleep(0)
    with pytest.raises(InternalError):
        await prepare(room, PHOTO)
    process.resume()
    for photo in await asyncio.gather(*photos):
        photo.file.close()
    await closing
    assert not process.is_running()


@pytest.mark.slow
def test_a_worker_ends_with_its_gateway() -> None:
    program = (
        "import asyncio, os\n"
        "from testkit.imaging import open_room\n"
        "async def main():\n"
        "    async with open_room() as room:\n"
        "        print(*[handle.pid for handle in room._workers._states], flush=True)\n"
        "        os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    tests = str(Path(__file__).parents[2])
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=tests, timeout=60, check=True).stdout
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(out)).wait(10)


@pytest.mark.slow
async def test_backgrounds_are_decoded_with_their_photo() -> None:
    behind = OutputSpec(kind=OutputKind.COMPOSITE, background=PictureBackground(EncodedPhoto(SEEDS["PNG RGBA 0"])))
    async with open_room() as room:
        assert (await take(room, PHOTO, MATTE, OutputSpec(), behind)).outputs[1].mime_type == "image/png"
        damaged = PictureBackground(EncodedPhoto(SEEDS["PNG RGBA 0"][:60] + bytes(60)))
        with pytest.raises(ImageUnreadableError):
            await take(room, PHOTO, MATTE, OutputSpec(kind=OutputKind.COMPOSITE, background=damaged))


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
        "os.ftruncate(memory, 1)",
    ],
)
def test_the_sandbox_refuses_what_imaging_does_not_need(attempt: str) -> None:
    program = (
        "import os, socket\n"
        "from matting_gateway.imaging.worker.sandbox import enter_sandbox\n"
        "memory = os.memfd_create('photo')\n"
        "assert enter_sandbox()\n"
        f"try:\n    {attempt}\nexcept PermissionError:\n    os._exit(7)\n"
        "os._exit(0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 7
