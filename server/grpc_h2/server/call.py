# SPDX-License-Identifier: Apache-2.0
"""One call as a handler in a task sees it: grpc.aio's context, on a stream of ours."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc

from grpc_h2.bodies.framing import body_of
from grpc_h2.bodies.messages import MessageFault
from grpc_h2.buffers import Buffer
from grpc_h2.http2.stream import Body
from grpc_h2.server.bare_call import BareCall


class ServerCall(BareCall, grpc.aio.ServicerContext[Any, Any]):
    """The context of one call that a task serves. Owns the task, and the messages that wait to be written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task: asyncio.Task[None] | None = None
        self._handler: grpc.RpcMethodHandler[Any, Any] | None = None
        self._writes: set[asyncio.Future[None]] = set()
        self._giving: asyncio.TimerHandle | None = None  # exactly while a message given is not written

    # --- for the server ---------------------------------------------------------------------

    def begin(self, task: asyncio.Task[None]) -> None:
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
        """Send the last message, if `reply`, and the status: `code`, or else what the handler has set. Once only."""
        if self._ended:
            return
        if code is not None:
            self.refuse(code, details)
            return
        number = self._code.value[0] if isinstance(self._code, grpc.StatusCode) else int(self._code)
        self._end(self._body(response) if reply and not number else (), number)  # an error has no message

    def _body(self, response: Any) -> Body:
        """Return a message as it travels; handlers without a serializer give it whole, or as a list of its pieces."""
        write = self._handler.response_serializer if self._handler is not None else None
        message = response if write is None else write(response)
        return body_of(message if isinstance(message, list) else (message,))

    def _ended_serving(self, _task: asyncio.Task[None]) -> None:
        self.task = None  # its exception may hold frames, and they the request
        self.let_go()

    # --- grpc.aio.ServicerContext -----------------------------------------------------------

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
            self._give_up(fault.code, fault.text)

    def message(self) -> Any:
        """Return what `read` does, of a message that was expected and has come."""
        try:
            return self._parsed(self.inbox.take())
        except MessageFault as fault:
            self._give_up(fault.code, fault.text)

    def _parsed(self, message: Buffer | None) -> Any:
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

        def note() -> None:
            if not sent.done():
                sent.set_result(None)

        body = self._body(message)
        self._connection.send(self._stream, headers=self._unsent_headers(), body=body, on_sent=note)
        if sent.done():
            return
        self._writes.add(sent)
        timer = self._begin_reading(body)
        try:
            await sent
        finally:
            timer.cancel()
            self.inbox.answer_waits(0)
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
                self.inbox.answer_waits(0)
            tell()

        self._connection.send(self._stream, headers=self._unsent_headers(), body=body, on_sent=note, borrowed=True)
        if not written:
            self._giving = self._begin_reading(body)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send headers with these metadata, now; an error after that is not Trailers-Only, and never tried again."""
        if self._headers_sent:
            raise asyncio.InvalidStateError("The headers have been sent already.")
        if not self._ended:
            self.set_initial_metadata(initial_metadata)
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
