# SPDX-License-Identifier: Apache-2.0
"""One call as a handler in a task sees it: what of grpc.aio's context handlers use, on a stream of ours."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc

from grpc_h2.bodies.framing import body_of
from grpc_h2.bodies.inbox import resolve
from grpc_h2.bodies.messages import MessageFault
from grpc_h2.buffers import Buffer
from grpc_h2.http2.server_connection import ServerConnection
from grpc_h2.http2.stream import Body, Stream
from grpc_h2.server.bare_call import BareCall, CallResources
from grpc_h2.server.metadata import CallHead
from grpc_h2.server.peer import Peer


class ServerCall(BareCall):
    """The context of one call that a task serves. Owns the task, and the messages that wait to be written."""

    def __init__(
        self, connection: ServerConnection, stream: Stream, head: CallHead, peer: Peer, resources: CallResources
    ) -> None:
        super().__init__(connection, stream, head, peer, resources)
        self.task: asyncio.Task[None] | None = None
        self._handler: grpc.RpcMethodHandler[Any, Any] | None = None
        self._writes: set[asyncio.Future[None]] = set()
        self._giving: asyncio.TimerHandle | None = None  # exactly while a message given is not written

    # --- for the server ---------------------------------------------------------------------

    def serve_by(self, task: asyncio.Task[None]) -> None:
        """Tell of the task that serves the call; at the deadline it is cancelled."""
        self.task = task
        task.add_done_callback(self._ended_serving)
        self._served_by(task.cancel)

    def bind(self, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
        """Tell how messages are read and written."""
        self._handler = handler
        self.inbox.one_message = not handler.response_streaming

    def lost(self, text: str) -> None:
        if self._giving is not None:
            self._giving.cancel()
        for sent in self._writes:
            if not sent.done():
                sent.set_exception(asyncio.InvalidStateError("The call has ended."))
        super().lost(text)

    def finish(
        self, response: Any = None, *, code: grpc.StatusCode | None = None, details: str = "", reply: bool = False
    ) -> None:
        """Send the last message, if `reply`, and that all went well; or, without a message, `code`. Once only."""
        if code is not None:
            self.refuse(code, details)
        elif not self._ended:
            self._end(self._body(response) if reply else ())

    def _body(self, response: Any) -> Body:
        """Return a message as it travels; handlers without a serializer give it whole, or as a list of its pieces."""
        write = self._handler.response_serializer if self._handler is not None else None
        message = response if write is None else write(response)
        return body_of(message if isinstance(message, list) else (message,))

    def _ended_serving(self, _task: asyncio.Task[None]) -> None:
        self.task = None  # its exception may hold frames, and they the request
        self.let_go()

    # --- for handlers, as in grpc.aio -------------------------------------------------------

    async def read(self, most_bytes: int | None = None) -> Any:
        """Return the next message, or `grpc.aio.EOF`. A body that cannot be understood ends the call.

        Args:
            most_bytes: The most that the handler is prepared for; grpc.aio's context knows no such thing.

        Raises:
            MessageTooLongError: The message has more. No further one can be read.
        """
        try:
            return self._parsed(await self.inbox.read(most_bytes))
        except MessageFault as fault:
            self._end_and_cancel(fault.code, fault.text)

    def message(self) -> Any:
        """Return what `read` does, of a message that was expected and has come."""
        try:
            return self._parsed(self.inbox.take())
        except MessageFault as fault:
            self._end_and_cancel(fault.code, fault.text)

    def _parsed(self, message: Buffer | None) -> Any:
        if message is None:
            return grpc.aio.EOF
        parse = self._handler.request_deserializer if self._handler is not None else None
        if parse is None:
            return message
        try:
            return parse(message)  # type: ignore[arg-type]  # a protobuf parser takes any buffer
        except Exception:  # noqa: BLE001 - whatever a parser raises: the message is none
            self._end_and_cancel(grpc.StatusCode.INTERNAL, "Exception deserializing request!")

    def _end_and_cancel(self, code: grpc.StatusCode, text: str) -> NoReturn:
        """End a call whose handler cannot be told why: to it, it is cancelled."""
        self.finish(code=code, details=text)
        if self.task is not asyncio.current_task():  # or else it would be cancelled twice, its clean-up with it
            self._stop_serving()
        raise asyncio.CancelledError

    async def write(self, message: Any) -> None:
        """Send a message, and wait until it has been written; who does not read it in time is cut off.

        Raises:
            asyncio.InvalidStateError: The call has ended.
        """
        if self._ended:
            raise asyncio.InvalidStateError("The call has ended.")
        sent: asyncio.Future[None] = self._loop.create_future()
        body, note = self._body(message), functools.partial(resolve, sent)
        self._connection.send(self._stream, headers=self._unsent_headers(), body=body, on_sent=note)
        if sent.done():
            return
        self._writes.add(sent)
        timer = self._begin_reading(body)
        try:
            await sent
        finally:
            timer.cancel()
            self._held.answer_waits(0)
            self._writes.discard(sent)

    def give(self, pieces: Sequence[Buffer], tell: Callable[[], None]) -> None:
        """Send a message in pieces, whose memory is wanted elsewhere; who does not read it in time is cut off.

        One at a time. `tell` is called once it has been written, maybe at once; never if the call ends before.
        """
        if self._ended:
            return
        body = body_of(pieces)
        written = False

        def note() -> None:
            nonlocal written
            written = True
            if self._giving is not None:
                self._giving.cancel()
                self._giving = None
                self._held.answer_waits(0)
            tell()

        self._connection.send(self._stream, headers=self._unsent_headers(), body=body, on_sent=note, borrowed=True)
        if not written:
            self._giving = self._begin_reading(body)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with a status; raises `grpc.aio.AbortError`."""
        if code is grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, ""
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        self.finish(code=code, details=details)
        raise grpc.aio.AbortError("Locally aborted.")
