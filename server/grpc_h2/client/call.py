# SPDX-License-Identifier: Apache-2.0
"""One unary call: its answer put together in place, and how it ended."""

import asyncio
from collections.abc import Callable

import grpc

from grpc_h2.bodies.framing import PREFIX_BYTES
from grpc_h2.client.status import Failure, answered_failure, is_grpc, reset_failure
from grpc_h2.http2.client_connection import ClientConnection
from grpc_h2.http2.stream import Body, Stream
from grpc_h2.http2.wire.frames import CANCEL
from grpc_h2.http2.wire.header_blocks import Fields

OnEnd = Callable[[Failure | None], None]


class Call:
    """A call under way, and who takes what comes on its stream.

    Owns what has come of the answer, and the future of whoever waits for it. Touched on the event loop only.
    Invariants: the call ends exactly once, and `on_end` hears of it before whoever waits; it goes on where nobody
    waits any more, until it is answered or cancelled. No error is kept that could hold a frame.

    Args:
        max_message_bytes: The most that the answer's message may have.
        on_end: Told why the call failed, or None.
    """

    def __init__(self, *, max_message_bytes: int, on_end: OnEnd | None) -> None:
        self._max_message_bytes = max_message_bytes
        self._on_end = on_end
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: ClientConnection | None = None
        self._stream: Stream | None = None
        self._headers: Fields | None = None
        self._trailers: Fields = ()
        self._prefix = b""
        self._message: bytearray | None = None
        self._room: memoryview | None = None  # of the message, what is still missing
        self._failure: Failure | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<Call {self._stream!r}{' ended' if self._ended else ''}>"

    # --- for the caller ---------------------------------------------------------------------

    def send(self, connection: ClientConnection, headers: bytes, body: Body) -> None:
        """Send the request. Once only."""
        self._connection = connection
        self._stream = connection.request(self, headers, body)

    async def answer(self) -> bytearray:
        """Return the answer's message. To be asked once; whoever gives up waiting leaves the call as it is.

        Raises:
            CallError: The call failed.
        """
        await self._done
        if self._failure is not None:
            raise self._failure.error()
        message, self._message = self._message, None
        if message is None:
            raise RuntimeError("the answer has been taken already")
        return message

    def fail(self, failure: Failure) -> None:
        """End the call now, and its stream with it. Where it has ended nothing happens."""
        if self._connection is not None and self._stream is not None:
            self._connection.reset(self._stream, CANCEL)
        self._end(failure)

    # --- what comes on the stream -----------------------------------------------------------

    def headers(self, fields: Fields) -> None:
        if self._headers is None:
            self._headers = fields
        self._trailers = fields

    def room(self) -> memoryview | None:
        return self._room or None

    def wrote(self, byte_count: int) -> None:
        if self._room is not None:
            self._room = self._room[byte_count:]

    def feed(self, data: memoryview) -> None:
        if self._message is None:
            missing = PREFIX_BYTES - len(self._prefix)
            self._prefix += data[:missing]
            data = data[missing:]
            if len(self._prefix) < PREFIX_BYTES or not self._begin_message():
                return
        room, size = self._room, len(data)
        if room is None or size > len(room):
            self.fail(Failure(grpc.StatusCode.INTERNAL, "The answer has more than one message."))
        elif size:
            room[:size] = data
            self._room = room[size:]

    def _begin_message(self) -> bool:
        flag, length = self._prefix[0], int.from_bytes(self._prefix[1:], "big")
        if self._answer_is_an_error():
            return False
        if flag:
            self.fail(Failure(grpc.StatusCode.INTERNAL, "The answer is compressed, which nobody asked for."))
            return False
        if length > self._max_message_bytes:
            text = f"CLIENT: Received message larger than max ({length} vs. {self._max_message_bytes})"
            self.fail(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, text))
            return False
        self._message = bytearray(length)
        self._room = memoryview(self._message)
        return True

    def _answer_is_an_error(self) -> bool:
        """Whether the body is no message but the words of somebody on the way."""
        return not is_grpc(dict(self._headers or ()))

    def ended(self) -> None:
        failure = answered_failure(self._headers or (), self._trailers)
        if failure is None and (self._message is None or self._room):
            failure = Failure(grpc.StatusCode.INTERNAL, "The answer ended without a whole message.")
        self._end(failure)

    def lost(self, text: str) -> None:
        self._end(Failure(grpc.StatusCode.UNAVAILABLE, text, unreachable=True))

    def broken(self, code: int, text: str) -> None:
        self._end(reset_failure(code, text))

    def _end(self, failure: Failure | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._failure = failure
        self._room = self._connection = self._stream = None
        if failure is not None:
            self._message = None
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(failure)
        if not self._done.done():
            self._done.set_result(None)
