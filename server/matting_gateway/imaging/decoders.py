# SPDX-License-Identifier: Apache-2.0
"""Decoder processes as seen from the gateway: started, asked, and killed when they hang.

Why processes and not threads: a thread that hangs or crashes in a native decoder cannot be ended, or ends the
gateway. A process costs one photo, and has no files, no network and bounded memory while it reads bytes from
outside. The pixels come back in shared memory, so the price is well under a millisecond and one copy of them.
"""

import json
import math
import mmap
import os
import pickle
import queue
import socket
import subprocess
import sys
from collections.abc import Mapping

from matting_gateway.domain import Buffer
from matting_gateway.errors import (
    GatewayError,
    ImageFormatUnsupportedError,
    ImageTooLargeError,
    ImageUnreadableError,
    InternalError,
)
from matting_gateway.imaging.decoder_protocol import ANSWER_BYTES, Layout, Request
from matting_gateway.imaging.plan import DecodePlan, decoder_memory_bytes, decoder_timeout_s
from matting_gateway.imaging.prepare import Prepared

_START_TIMEOUT_S = 60.0
_REASONS: Mapping[str, type[GatewayError]] = {
    error.reason: error for error in (ImageUnreadableError, ImageFormatUnsupportedError, ImageTooLargeError)
}


class DecoderProcess:
    """One process that decodes one photo at a time. Used by one thread at a time.

    Owns the child and the socket to it. After `kill` it is not used again.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "matting_gateway.imaging.decoder_process", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        finally:
            theirs.close()
        self._connection = ours
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
            self.filtered = bool(self._receive(_START_TIMEOUT_S).get("filtered"))
        except (OSError, ValueError) as error:
            self.kill()
            raise InternalError("A decoder process did not start.") from error

    def decode(self, content: Buffer, plan: DecodePlan, memory_bytes: int, timeout_s: float) -> Prepared:
        """Decode one file.

        Raises:
            GatewayError: What the child said of the file.
            OSError: The child died, or took too long (TimeoutError); it must be killed.
            ValueError: The child's answer makes no sense; it must be killed.
        """
        layout = Layout.of(plan)
        file_fd, room_fd = os.memfd_create("file"), os.memfd_create("pixels")
        try:
            view = memoryview(content).cast("B")
            os.ftruncate(file_fd, view.nbytes)
            _write_all(file_fd, view)
            os.ftruncate(room_fd, layout.total_bytes)
            request = Request(plan, view.nbytes, memory_bytes, math.ceil(timeout_s) + 1)
            socket.send_fds(self._connection, [pickle.dumps(request)], [file_fd, room_fd])
            answer = self._receive(timeout_s)
            if "reason" in answer:
                raise _error_of(answer, plan)
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            room = mmap.mmap(room_fd, layout.total_bytes, flags=flags, prot=mmap.PROT_READ)
        finally:
            os.close(file_fd)
            os.close(room_fd)
        # The arrays keep the mapping alive; its pages go back to the system, cleared, with the last of them.
        return layout.parts(room, plan, deep=bool(answer.get("deep")), alpha=bool(answer.get("alpha")))

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def kill(self) -> None:
        """End the child at once, and collect it."""
        self._connection.close()
        self._child.kill()
        self._child.wait()

    def _receive(self, timeout_s: float) -> dict[str, object]:
        self._connection.settimeout(timeout_s)
        message = self._connection.recv(ANSWER_BYTES)
        if not message:
            raise ConnectionResetError("the decoder process ended")
        answer = json.loads(message)
        if not isinstance(answer, dict):
            raise ValueError("the decoder process answered nonsense")  # noqa: TRY004 - a value from outside, no bug
        return answer


class Decoders:
    """A fixed number of decoder processes, lent to the threads that decode.

    Owns the processes. A process is in the queue of idle ones, or lent to exactly one thread, or dead.
    """

    def __init__(self, count: int, *, base_timeout_s: float) -> None:
        self._count = count
        self._base_timeout_s = base_timeout_s
        self._idle: queue.SimpleQueue[DecoderProcess | None] = queue.SimpleQueue()
        self.killed_total = 0

    def start(self) -> None:
        """Start all processes and wait until they are ready. Blocks.

        Raises:
            InternalError: One did not start.
        """
        processes = [DecoderProcess() for _ in range(self._count)]
        for process in processes:
            self._idle.put(process)
        for process in processes:
            process.wait_ready()

    def decode(self, content: Buffer, plan: DecodePlan) -> Prepared:
        """Decode one file in one of the processes. Blocks; called by as many threads at most as there are processes.

        Raises:
            ImageUnreadableError: Damaged, or it made the decoder hang or crash.
            ImageFormatUnsupportedError: Samples that cannot be kept.
            ImageTooLargeError: More memory or a larger profile than a photo of its size may have.
            InternalError: No process could be started.
        """
        timeout_s = decoder_timeout_s(plan, self._base_timeout_s)
        memory_bytes = decoder_memory_bytes(plan) + 2 * len(content)
        process = self._idle.get()
        try:
            if process is not None and not process.is_alive():
                # Ended while idle: not this photo's fault.
                self._bury(process)
                process = None
            if process is None:
                process = DecoderProcess()
                process.wait_ready()
            return process.decode(content, plan, memory_bytes, timeout_s)
        except (OSError, ValueError) as error:
            self._bury(process)
            process = None
            if isinstance(error, TimeoutError):
                raise ImageUnreadableError(
                    f"The {plan.header.format.title} file could not be decoded within {timeout_s:.1f} s: "
                    "it is damaged, or made to be slow."
                ) from error
            raise ImageUnreadableError(
                f"The {plan.header.format.title} file made its decoder fail: it is damaged."
            ) from error
        except InternalError:
            self._bury(process)
            process = None
            raise
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End all processes. Nothing may be decoding any more."""
        for _ in range(self._count):
            process = self._idle.get()
            if process is not None:
                process.kill()

    def _bury(self, process: DecoderProcess | None) -> None:
        """Kill a process; the next photo starts a new one in its place."""
        if process is not None:
            process.kill()
            self.killed_total += 1


def _error_of(answer: Mapping[str, object], plan: DecodePlan) -> GatewayError:
    title = plan.header.format.title
    reason, message = str(answer.get("reason")), answer.get("message")
    if reason == "MEMORY":
        return ImageTooLargeError(f"The {title} file needs more memory to decode than a photo of its size may.")
    error = _REASONS.get(reason, ImageUnreadableError)
    return error(str(message) if message else f"The {title} file is damaged: it cannot be decoded.")


def _write_all(descriptor: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(descriptor, view) :]
