# SPDX-License-Identifier: Apache-2.0
"""One call as its handler sees it: grpc.aio's context, on a stream of ours."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import grpc

from matting_gateway.domain import Buffer
from matting_gateway.grpc_server.facts import CallFacts, Peer
from matting_gateway.grpc_server.inbox import PREFIX_BYTES, Inbox, MessageFault
from matting_gateway.grpc_server.metadata import CallHead, initial_block, status_block
from matting_gateway.http2.connection import Connection
from matting_gateway.http2.frames import CANCEL
from matting_gateway.http2.stream import Stream

_PLAIN_HEADERS = initial_block()


class ServerCall(CallFacts):
    """The context of one call, and who takes what comes on its stream.

    Owns the call's state; touched on the event loop only. Invariants: the status is sent at most
    once; callbacks are called once, when the last of the answer has been written or the caller is
    gone, and the handler's task has ended. Once the call has ended nothing of its request is kept.
    """

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        head: CallHead,
        *,
        peer: Peer,
        max_message_bytes: int,
        lend: Callable[[int], memoryview],
    ) -> None:
        super().__init__(head, peer)
        self._connection = connection
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        self.inbox = Inbox(
            max_message_bytes=max_message_bytes,
            encoding=head.encoding,
            let_send=self._let_send,
            lend=lend,
        )
        self.task: asyncio.Task[None] | None = None
        self._handler: grpc.RpcMethodHandler[Any, Any] | None = None
        self._headers_sent = False
        self._initial: bytes = _PLAIN_HEADERS
        self._ended = False
        self._gone = self._lost = False
        self._served = False
        self._callbacks: list[Callable[[Any], None]] = []
        self._writes: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<ServerCall {self._stream!r}{' ended' if self._ended else ''}>"

    def _let_send(self, byte_count: int) -> None:
        self._connection.let_send(self._stream, byte_count)

    # --- what comes on the stream -----------------------------------------------------------

    def room(self) -> memoryview | None:
        return self.inbox.room()

    def wrote(self, byte_count: int) -> None:
        self.inbox.wrote(byte_count)

    def feed(self, data: memoryview) -> None:
        self.inbox.feed(data)

    def ended(self) -> None:
        self.inbox.ended()

    def lost(self, text: str) -> None:
        """End with the caller, or the caller's patience."""
        self._ended = self._lost = True
        self.inbox.close()
        for sent in self._writes:
            if not sent.done():
                sent.set_exception(asyncio.InvalidStateError("The call has ended."))
        self._written()
        self._cancel_task()

    # --- for who serves the call ------------------------------------------------------------

    def begin(self, task: asyncio.Task[None]) -> None:
        """Tell of the task that serves the call; at the deadline it is cancelled."""
        self.task = task
        task.add_done_callback(self._ended_serving)
        if self._deadline_s is not None:
            self._timer = self._loop.call_at(self._deadline_s, self._expire)

    def bind(self, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
        """Tell how messages are read and written."""
        self._handler = handler
        self.inbox.one_message = not handler.response_streaming

    def _expire(self) -> None:
        self.finish(code=grpc.StatusCode.DEADLINE_EXCEEDED, details="Deadline Exceeded")
        if self._gone:
            self._cancel_task()
        else:  # who has not taken the answer so far takes no status either, and would hold both for ever
            self._connection.reset(self._stream, CANCEL)
            self.lost("the deadline has passed")

    def _cancel_task(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def finish(
        self, response: Any = None, *, code: grpc.StatusCode | None = None, details: str = "", reply: bool = False
    ) -> None:
        """Send the last message, if `reply`, and the status: `code`, or else what the handler has set. Once only."""
        if self._ended:
            return
        if code is not None:
            self._code, self._details = code, details
        number = self._code.value[0] if isinstance(self._code, grpc.StatusCode) else int(self._code)
        message = self._framed(response) if reply and not number else None  # an error has no message
        self._ended = True
        self.inbox.close()
        trailers = status_block(number, self._details) + self._trailing_block
        self._connection.send(
            self._stream, headers=self._unsent_headers(), message=message, trailers=trailers, on_sent=self._written
        )

    def _unsent_headers(self) -> bytes:
        headers = b"" if self._headers_sent else self._initial
        self._headers_sent = True
        return headers

    def _framed(self, response: Any) -> tuple[bytes, Buffer]:
        """Return a message's prefix and bytes."""
        write = self._handler.response_serializer if self._handler is not None else None
        data: Buffer = response if write is None else write(response)
        return b"\0" + len(data).to_bytes(PREFIX_BYTES - 1, "big"), data

    def _written(self) -> None:
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        self._finished()

    def _ended_serving(self, _task: asyncio.Task[None]) -> None:
        self._served = True
        self.task = None  # its exception may hold frames, and they the request
        self._finished()

    def _finished(self) -> None:
        """Tell who asked for it: all is written or the caller gone, and the handler has let go of what it held."""
        if not (self._gone and self._served):
            return
        callbacks, self._callbacks = self._callbacks, []
        for act in callbacks:
            try:
                act(self)
            except Exception as exc:  # noqa: BLE001 - theirs, and no reason not to tell the others
                self._loop.call_exception_handler({"message": "a callback of a call failed", "exception": exc})

    # --- grpc.aio.ServicerContext -----------------------------------------------------------

    async def read(self, most_bytes: int | None = None) -> Any:
        """Return the next message, or `grpc.aio.EOF`. A body that cannot be understood ends the call.

        Args:
            most_bytes: The most that the handler is prepared for; grpc.aio's context knows no such thing.

        Raises:
            MessageTooLongError: The message has more. No further one can be read.
        """
        try:
            message = await self.inbox.read(most_bytes)
        except MessageFault as fault:
            self._give_up(fault.code, fault.text)
        if message is None:
            return grpc.aio.EOF
        parse = self._handler.request_deserializer if self._handler is not None else None
        if parse is None:
            return message
        try:
            return parse(message)  # type: ignore[arg-type]  # a protobuf parser takes any buffer
        except Exception:  # noqa: BLE001 - whatever a parser raises: the message is none
            self._give_up(grpc.StatusCode.INTERNAL, "Exception deserializing request!")

    def _give_up(self, code: grpc.StatusCode, text: str) -> NoReturn:
        """End a call whose handler cannot be told why: to it, it is cancelled."""
        self.finish(code=code, details=text)
        if self.task is not asyncio.current_task():  # or else it would be cancelled twice, its clean-up with it
            self._cancel_task()
        raise asyncio.CancelledError

    async def write(self, message: Any) -> None:
        """Send a message, and wait until it has been written.

        Raises:
            asyncio.InvalidStateError: The call has ended.
        """
        if self._ended:
            raise asyncio.InvalidStateError("The call has ended.")
        sent: asyncio.Future[None] = self._loop.create_future()

        def note() -> None:
            if not sent.done():
                sent.set_result(None)

        framed = self._framed(message)
        self._writes.add(sent)
        self._connection.send(self._stream, headers=self._unsent_headers(), message=framed, on_sent=note)
        try:
            await sent
        finally:
            self._writes.discard(sent)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send headers with these metadata, now."""
        if self._headers_sent:
            raise asyncio.InvalidStateError("The headers have been sent already.")
        if not self._ended:
            self._initial = initial_block(initial_metadata)
            self._connection.send(self._stream, headers=self._unsent_headers())

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with a status; raises `grpc.aio.AbortError`."""
        if code is grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, ""
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        self.finish(code=code, details=details)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, tuple(status.trailing_metadata or ()))

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have `callback` called once the answer has been written or the caller is gone; if that is so, now."""
        if self._gone and self._served:
            callback(self)
        else:
            self._callbacks.append(callback)

    def cancelled(self) -> bool:
        return self._lost

    def done(self) -> bool:
        return self._ended
