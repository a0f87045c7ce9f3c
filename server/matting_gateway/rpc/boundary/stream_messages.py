# SPDX-License-Identifier: Apache-2.0
"""The messages of a stream, one after another, without patience for streams that only hold memory."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
from grpc_h2.bodies.messages import MessageTooLongError
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Permit
from matting_gateway.errors import DrainingError, OverloadedError
from matting_gateway.rpc.boundary.promise import broken_promise, gave_way


class Incoming(Protocol):
    """Where messages come from: the context of a stream on the gateway's own server."""

    @property
    def begun(self) -> bool: ...

    def when_begun(self, tell: Callable[[], None]) -> None: ...

    def expect(self, most_bytes: int, tell: Callable[[], None]) -> None: ...

    def message(self) -> Any: ...


class StreamMessages:
    """Waits for a stream's messages; a context, for as long as the stream is read.

    Owns who waits, and since when the stream is silent. For one reader. Invariant: there is one task, which waits for
    the gateway to drain; a message costs none.

    Args:
        context: gRPC's of the stream.
        draining: Set when the gateway shuts down.
        idle_timeout_s: How long a stream on which nothing is in work may stay silent.
        busy: Tells whether something is in work, or the stream may be silent for another reason.
    """

    def __init__(
        self, context: Incoming, *, draining: asyncio.Event, idle_timeout_s: float, busy: Callable[[], bool]
    ) -> None:
        self._context = context
        self._draining = draining
        self._idle_timeout_s = idle_timeout_s
        self._busy = busy
        self._silent_since_s = 0.0
        self._in_the_way = False
        self._came = False
        self._woken: asyncio.Future[None] | None = None
        self._drained: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Self:
        self._drained = asyncio.get_running_loop().create_task(self._draining.wait())
        self._drained.add_done_callback(lambda _: self._wake())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._drained is not None:
            self._drained.cancel()

    def item_ended(self) -> None:
        """Count the stream's silence from now on."""
        self._silent_since_s = asyncio.get_running_loop().time()

    async def next(self, acquire: Callable[[], Awaitable[Permit]], *, most_bytes: int) -> tuple[Permit, Buffer] | None:
        """Return the next message and the permit under which it was received; None at the stream's end.

        Args:
            acquire: Asks for the permit, once the message has begun to come.
            most_bytes: The most that the message may have: what was promised, or every limit.

        Raises:
            DrainingError: The gateway shuts down.
            OverloadedError: The stream was idle for too long, or others wait for the memory.
            OptionInvalidError: The message has more than `most_bytes`.
        """
        if not self._context.begun:
            self._context.when_begun(self._wake)
            await self._until(lambda: self._context.begun)
        permit = await acquire()
        message: Any = grpc.aio.EOF
        try:
            message = await self._read(permit, most_bytes)
        finally:
            if message is grpc.aio.EOF:
                permit.release()
        return None if message is grpc.aio.EOF else (permit, message)

    async def _read(self, permit: Permit, most_bytes: int) -> Any:
        self._came = self._in_the_way = False
        self._context.expect(most_bytes, self._note_came)
        if self._came:
            await asyncio.sleep(0)  # others have their turn between messages that came together
        else:
            with permit.awaiting(most_bytes, self._give_way):
                await self._until(lambda: self._came)
        try:
            return self._context.message()
        except MessageTooLongError as exc:
            raise broken_promise() from exc

    async def _until(self, there: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        self._silent_since_s = loop.time()
        while not there():
            if self._draining.is_set():
                raise DrainingError("The gateway is shutting down; what was accepted is answered. Ask another one.")
            if self._in_the_way:
                raise gave_way()
            if self._busy():
                self._silent_since_s = loop.time()
            ends_s = self._silent_since_s + self._idle_timeout_s
            if ends_s <= loop.time():
                text = f"The stream was idle for {self._idle_timeout_s:g} s and is closed; open another for more work."
                raise OverloadedError(text, retry_after_s=0.0)
            self._woken = loop.create_future()
            timer = loop.call_at(ends_s, self._wake)
            try:
                await self._woken
            finally:
                timer.cancel()
                self._woken = None

    def _note_came(self) -> None:
        self._came = True
        self._wake()

    def _give_way(self) -> None:
        self._in_the_way = True
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
