# SPDX-License-Identifier: Apache-2.0
"""Compressed messages unpacked beside the event loop, piece by piece, and no further than anybody is prepared for."""

import asyncio
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import grpc

from grpc_h2.bodies.messages import MessageFault, MessageRules, MessageTooLongError

# zlib's window bits for what gRPC calls them: both have the header of their format.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
# zlib keeps what it has not used of its input as a copy, so it gets little at a time.
_INPUT_PIECE_BYTES = 64 << 10
_OUTPUT_PIECE_BYTES = 256 << 10
# How much larger than on the wire a message may become, once it is larger than anything that does no harm.
MAX_RATIO = 100
HARMLESS_BYTES = 4 << 20
_THREAD_COUNT = 2

# What was in a compressed message, or what is wrong with it.
Unpacked: TypeAlias = bytearray | MessageFault | MessageTooLongError
# Begins to unpack; returns what makes it stop.
Unpack: TypeAlias = Callable[
    [memoryview, MessageRules, int | None, Callable[[Unpacked | None], None]], Callable[[], None]
]


def unpack(
    message: memoryview, rules: MessageRules, most_bytes: int | None, stopped: Callable[[], bool]
) -> Unpacked | None:
    """Return what is in a compressed message, or what is wrong with it; None where it was stopped.

    Of what it unpacks to no more than a piece beyond its limits is ever in memory. For any thread.

    Args:
        message: As it came.
        rules: What it may be; its encoding is a known one.
        most_bytes: The most that its reader is prepared for.
        stopped: Asked before each piece.
    """
    stream = zlib.decompressobj(_WINDOW_BITS[rules.encoding])
    unpacked = bytearray()
    for start in range(0, len(message), _INPUT_PIECE_BYTES):
        data: bytes | memoryview = message[start : start + _INPUT_PIECE_BYTES]
        if stream.eof:
            return _damaged()  # something follows it
        while True:
            if stopped():
                return None
            try:
                piece = stream.decompress(data, _OUTPUT_PIECE_BYTES)
            except zlib.error:
                return _damaged()
            unpacked += piece
            problem = rules.problem_of_size(len(unpacked), most_bytes) or _problem_of_ratio(unpacked, message)
            if problem is not None:
                return problem
            data = stream.unconsumed_tail
            if stream.eof or (not data and len(piece) < _OUTPUT_PIECE_BYTES):
                break
    return unpacked if stream.eof and not stream.unused_data else _damaged()


def _problem_of_ratio(unpacked: bytearray, message: memoryview) -> MessageFault | None:
    if len(unpacked) <= max(HARMLESS_BYTES, MAX_RATIO * len(message)):
        return None
    text = (
        f"A compressed message of more than {HARMLESS_BYTES >> 20} MiB may be at most {MAX_RATIO} times as large as on"
        f" the wire, and one of {len(message)} bytes is larger; send it uncompressed."
    )
    return MessageFault(grpc.StatusCode.RESOURCE_EXHAUSTED, text)


def _damaged() -> MessageFault:
    return MessageFault(grpc.StatusCode.INTERNAL, "A compressed message is damaged.")


def _impossible() -> MessageFault:
    return MessageFault(grpc.StatusCode.INTERNAL, "A compressed message could not be unpacked; send it uncompressed.")


class Unpacker:
    """Unpacks the compressed messages of a server, two at a time.

    Owns its threads, which exist once there was something to unpack. `unpack` is called on the event loop only.
    """

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    def unpack(
        self,
        message: memoryview,
        rules: MessageRules,
        most_bytes: int | None,
        tell: Callable[[Unpacked | None], None],
    ) -> Callable[[], None]:
        """Unpack a message and `tell` what is in it, on the event loop; return what makes it stop, and tell nothing."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREAD_COUNT, thread_name_prefix="unpacking")
        stopping = threading.Event()
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._threads, unpack, message, rules, most_bytes, stopping.is_set)

        def stop() -> None:
            stopping.set()
            done.cancel()

        def note(done: "asyncio.Future[Unpacked | None]") -> None:
            if not done.cancelled() and not stopping.is_set():  # it may have been done as it was stopped
                tell(_impossible() if done.exception() is not None else done.result())

        done.add_done_callback(note)
        return stop

    def shut_down(self) -> None:
        """Let the threads end; what was begun has been stopped."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
