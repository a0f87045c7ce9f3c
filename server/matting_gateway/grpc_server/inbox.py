# SPDX-License-Identifier: Apache-2.0
"""A call's messages put together from its body: only while somebody reads, each in one place."""

import asyncio
import zlib
from collections.abc import Callable

import grpc

from matting_gateway.domain import Buffer
from matting_gateway.http2.frames import DEFAULT_WINDOW_BYTES

PREFIX_BYTES = 5
# What the peer may send of the only message before its length is known, so that it need not stop for our leave.
_AHEAD_BYTES = 1 << 20
# zlib's window bits for what gRPC calls them: both have the header of their format.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class MessageFault(Exception):  # noqa: N818 - what a caller did, told as a status
    """The body is no sequence of messages, or one is too large."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class MessageTooLongError(Exception):
    """The next message is longer than its reader is prepared for. Nothing of it has been taken, nor will be."""


class Inbox:
    """The messages that come on a stream.

    Owns what has come and is not read yet, and the one who waits for it. Invariants: a message's
    memory is taken only once somebody reads it; until then no more is kept than the stream's window;
    while it is being read the peer may send the whole of it. After `close` nothing is kept.

    Args:
        max_message_bytes: The most that a message may have, as it comes and uncompressed.
        encoding: How compressed messages are compressed.
        let_send: Lets the peer send at least so many bytes more.
        lend: Gives memory of so many bytes, which its views hold.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        encoding: str,
        let_send: Callable[[int], None],
        lend: Callable[[int], memoryview],
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._encoding = encoding
        # Whether nothing follows a message: then the peer may send ahead as soon as it is being read.
        self.one_message = False
        self._let_send = let_send
        self._lend = lend
        self._early = bytearray()
        self._message: memoryview | None = None
        self._room: memoryview | None = None  # of the message, what is still missing
        self._compressed = False
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._closed = False
        self._fault: MessageFault | MessageTooLongError | None = None
        self._most_bytes: int | None = None

    async def read(self, most_bytes: int | None = None) -> Buffer | None:
        """Return the next message, or None after the last.

        Args:
            most_bytes: The most that the reader is prepared for, as it comes and uncompressed.

        Raises:
            MessageTooLongError: It has more.
            MessageFault: The body cannot be understood.
        """
        if self._waiter is not None:
            raise RuntimeError("A message of this call is being read already.")
        self._most_bytes = most_bytes
        self._advance()
        if self._message is None and not self._ended:
            self._let_send(self._ahead_bytes())
        while not self._complete and not self._ended and self._fault is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._fault is not None:
            raise self._fault
        if not self._complete:
            if self._message is not None or self._early:
                raise MessageFault(grpc.StatusCode.INTERNAL, "The request ended in the middle of a message.")
            return None
        message, self._message, self._room = self._message, None, None
        if message is None:
            raise RuntimeError("a complete message is there")
        return self._uncompressed(message) if self._compressed else message

    # --- for the stream ---------------------------------------------------------------------

    def room(self) -> memoryview | None:
        """Return what is missing of the message that is being read."""
        return self._room or None

    def wrote(self, byte_count: int) -> None:
        if self._room is not None:
            self._room = self._room[byte_count:]
            self._wake_if_complete()

    def feed(self, data: memoryview) -> None:
        if self._closed:
            return
        if self._room:
            size = min(len(data), len(self._room))
            self._room[:size] = data[:size]
            self._room = self._room[size:]
            data = data[size:]
        if data:
            self._early += data
            if self._waiter is not None:
                self._advance()
        self._wake_if_complete()

    def ended(self) -> None:
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Let go of all that has come, and take nothing more: the call has ended. Who reads is told that it has."""
        self._closed = self._ended = True
        self._early = bytearray()
        self._message = self._room = self._fault = None
        self._let_send = _nobody
        self._wake()

    # --- inside -----------------------------------------------------------------------------

    def _ahead_bytes(self) -> int:
        """Return what the peer may send before the length is known."""
        if not self.one_message:
            # Half a window of many small messages: each of them is not worth a frame that gives back what it took.
            return DEFAULT_WINDOW_BYTES // 2
        return _AHEAD_BYTES if self._most_bytes is None else min(_AHEAD_BYTES, PREFIX_BYTES + self._most_bytes)

    @property
    def _complete(self) -> bool:
        return self._message is not None and not self._room

    def _wake_if_complete(self) -> None:
        if self._complete or self._fault is not None:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _advance(self) -> None:
        """Begin the next message where its length is known, and let the rest of it come."""
        early = self._early
        if self._message is not None or len(early) < PREFIX_BYTES or self._fault is not None:
            return
        flag, length = early[0], int.from_bytes(early[1:PREFIX_BYTES], "big")
        self._fault = self._problem_of(flag, length)
        if self._fault is not None:
            return
        self._compressed = bool(flag)
        message = self._lend(length)
        there = min(length, len(early) - PREFIX_BYTES)
        message[:there] = memoryview(early)[PREFIX_BYTES : PREFIX_BYTES + there]
        self._early = early[PREFIX_BYTES + there :]  # another one: what was in this one is given back, not kept
        self._message = message
        self._room = message[there:]
        if self._room:
            self._let_send(len(self._room))

    def _problem_of(self, flag: int, length: int) -> MessageFault | MessageTooLongError | None:
        if self._is_too_long(length):
            return MessageTooLongError()
        if length > self._max_message_bytes:
            return self._too_large(length)
        if flag > 1:
            return MessageFault(grpc.StatusCode.INTERNAL, "A message begins with a flag that gRPC does not know.")
        if flag and self._encoding not in (*_WINDOW_BITS, "identity"):
            return MessageFault(grpc.StatusCode.UNIMPLEMENTED, "The request's grpc-encoding is not supported.")
        if flag and self._encoding == "identity":
            return MessageFault(grpc.StatusCode.INTERNAL, "A message is compressed, and no grpc-encoding says how.")
        return None

    def _is_too_long(self, length: int) -> bool:
        return self._most_bytes is not None and self._most_bytes < length <= self._max_message_bytes

    def _too_large(self, length: int) -> MessageFault:
        text = f"SERVER: Received message larger than max ({length} vs. {self._max_message_bytes})"
        return MessageFault(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    def _uncompressed(self, message: memoryview) -> bytes:
        stream = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            most_bytes = self._max_message_bytes if self._most_bytes is None else self._most_bytes
            data = stream.decompress(message, most_bytes + 1)
        except zlib.error as exc:
            raise MessageFault(grpc.StatusCode.INTERNAL, "A compressed message is damaged.") from exc
        if self._is_too_long(len(data)):
            raise MessageTooLongError
        if len(data) > self._max_message_bytes:
            raise self._too_large(len(data))
        if not stream.eof or stream.unused_data:
            raise MessageFault(grpc.StatusCode.INTERNAL, "A compressed message is damaged.")
        return data


def _nobody(_byte_count: int) -> None:
    """Stand for the peer of a call that has ended."""
