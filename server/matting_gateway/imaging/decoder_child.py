# SPDX-License-Identifier: Apache-2.0
"""A decoder process as seen from the gateway: started, asked, and killed when it hangs.

Why processes and not threads: a thread that hangs or crashes in a native decoder cannot be ended, or ends the
gateway. A process costs one photo, and has no files, no network and bounded memory while it reads bytes from
outside. The pixels come back in shared memory, so the price is well under a millisecond and one copy of them.

Why the event loop asks them, and no thread that waits for each: such a thread takes the interpreter's lock a dozen
times a photo, and holds a worker that could encode meanwhile. What takes long is still done aside.
"""

import asyncio
import contextlib
import json
import math
import mmap
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol, TypeAlias, TypeVar

from matting_gateway.domain import Buffer
from matting_gateway.errors import (
    GatewayError,
    ImageFormatUnsupportedError,
    ImageTooLargeError,
    ImageUnreadableError,
    InternalError,
)
from matting_gateway.imaging.cancellation import outlast_cancellation
from matting_gateway.imaging.decoder_protocol import ANSWER_BYTES, Layout, Request
from matting_gateway.imaging.plan import DecodePlan
from matting_gateway.imaging.prepare import Prepared

_T = TypeVar("_T")
_Answer: TypeAlias = Mapping[str, object]
_START_TIMEOUT_S = 60.0
# So much is copied, or mapped, on the event loop: it takes half a millisecond at most, a thread not much less.
_AT_ONCE_BYTES = 1 << 20
_REASONS: Mapping[str, type[GatewayError]] = {
    error.reason: error for error in (ImageUnreadableError, ImageFormatUnsupportedError, ImageTooLargeError)
}


class Aside(Protocol):
    """Does work in a thread; a cancelled caller is let go only when it is done."""

    def __call__(self, work: Callable[[], _T], /) -> Awaitable[_T]: ...


class DecoderProcess:
    """One process that decodes one photo at a time. Asked by one task at a time.

    Owns the child and the socket to it. It is fit for a photo as long as it runs and has answered, in a way that makes
    sense, all that it was asked: what comes late would be taken for the next photo. After `kill` it is not used again.
    Making, `wait_ready` and `kill` block.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "matting_gateway.imaging.decoder_process", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._connection = ours
        self._in_doubt = False
        self.pid = self._child.pid
        self.filtered = False

    def __repr__(self) -> str:
        return f"<DecoderProcess {self.pid}>"

    def wait_ready(self) -> None:
        """Wait until the child has loaded its decoders and given up its rights.

        Raises:
            InternalError: It ended instead.
        """
        try:
            self._connection.settimeout(_START_TIMEOUT_S)
            self.filtered = bool(_read_answer(self._connection.recv(ANSWER_BYTES)).get("filtered"))
            self._connection.setblocking(False)
        except (OSError, ValueError) as error:
            self.kill()
            raise InternalError("A decoder process did not start.") from error

    async def decode(
        self, content: Buffer, plan: DecodePlan, memory_bytes: int, timeout_s: float, aside: Aside
    ) -> Prepared:
        """Decode one file. A cancelled caller is let go only when the child has answered, or its time is over.

        Raises:
            GatewayError: What the child said of the file; or that there is no memory to hand it over (InternalError).
            OSError: The child died, or took too long (TimeoutError); it is not fit any more.
            ValueError: The child's answer makes no sense; it is not fit any more.
        """
        layout = Layout.of(plan)
        view = memoryview(content).cast("B")
        with contextlib.ExitStack() as stack, _own_failures():
            file_fd, room_fd = (_memory_file(name, stack) for name in ("file", "pixels"))
            os.ftruncate(room_fd, layout.total_bytes)
            await _at_once_or_aside(view.nbytes, lambda: _write_all(file_fd, view), aside)
            files = stack.pop_all()
        request = Request(plan, view.nbytes, memory_bytes, math.ceil(timeout_s) + 1)
        with files:
            asked = self._ask(pickle.dumps(request), [file_fd, room_fd], timeout_s)
            answer = await outlast_cancellation(asked)
            if "reason" in answer:
                raise _error_of(answer, plan)
            with _own_failures():
                room = await _at_once_or_aside(layout.total_bytes, lambda: _mapped(room_fd, layout.total_bytes), aside)
        # The arrays keep the mapping alive; its pages go back to the system, cleared, with the last of them.
        return layout.parts(room, plan, deep=bool(answer.get("deep")), alpha=bool(answer.get("alpha")))

    def is_fit(self) -> bool:
        """Return whether it can be asked."""
        return not self._in_doubt and self._child.poll() is None

    def kill(self) -> None:
        """End the child at once, and collect it."""
        self._connection.close()
        self._child.kill()
        self._child.wait()

    def _ask(self, request: bytes, descriptors: list[int], timeout_s: float) -> asyncio.Future[_Answer]:
        """Send a request; the future has the answer, or OSError (TimeoutError) or ValueError in its place."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()

        def came() -> None:
            try:
                answer.set_result(_read_answer(self._connection.recv(ANSWER_BYTES)))
                self._in_doubt = False
            except BlockingIOError:
                return
            except (OSError, ValueError) as error:
                answer.set_exception(error)
            stop_waiting()

        def late() -> None:
            answer.set_exception(TimeoutError("the decoder process took too long"))
            stop_waiting()

        def stop_waiting() -> None:
            timer.cancel()
            loop.remove_reader(self._connection)

        self._in_doubt = True
        socket.send_fds(self._connection, [request], descriptors)
        timer = loop.call_later(timeout_s, late)
        loop.add_reader(self._connection, came)
        return answer


@contextlib.contextmanager
def _own_failures() -> Iterator[None]:
    """Tell what the system refuses to us from what a child does."""
    try:
        yield
    except OSError as error:
        raise InternalError("There is no memory, or no descriptor, to hand a photo to its decoder.") from error


def _memory_file(name: str, stack: contextlib.ExitStack) -> int:
    descriptor = os.memfd_create(name)
    stack.callback(os.close, descriptor)
    return descriptor


async def _at_once_or_aside(byte_count: int, work: Callable[[], _T], aside: Aside) -> _T:
    return work() if byte_count <= _AT_ONCE_BYTES else await aside(work)


def _read_answer(message: bytes) -> _Answer:
    if not message:
        raise ConnectionResetError("the decoder process ended")
    answer = json.loads(message)
    if not isinstance(answer, dict):
        raise ValueError("the decoder process answered nonsense")  # noqa: TRY004 - a value from outside, no bug
    return answer


def _mapped(descriptor: int, byte_count: int) -> mmap.mmap:
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
    return mmap.mmap(descriptor, byte_count, flags=flags, prot=mmap.PROT_READ)


def _error_of(answer: _Answer, plan: DecodePlan) -> GatewayError:
    title = plan.header.format.title
    reason, message = str(answer.get("reason")), answer.get("message")
    if reason == "MEMORY":
        return ImageTooLargeError(f"The {title} file needs more memory to decode than a photo of its size may.")
    error = _REASONS.get(reason, ImageUnreadableError)
    return error(str(message) if message else f"The {title} file is damaged: it cannot be decoded.")


def _write_all(descriptor: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(descriptor, view) :]
