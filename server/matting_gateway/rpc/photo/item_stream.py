# SPDX-License-Identifier: Apache-2.0
"""Many photos over one call: items start as they come, answer as they are ready, fail alone."""

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable

from google.rpc import code_pb2, status_pb2
from grpc_h2.server.call import ServerCall
from matting.v1 import matting_service_pb2 as pb
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Permit
from matting_gateway.clock import Clock
from matting_gateway.errors import (
    DeadlineUnreachableError,
    GatewayError,
    OptionInvalidError,
    without_frames,
)
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.status import to_status, unexpected
from matting_gateway.rpc.boundary.stream_messages import StreamMessages
from matting_gateway.rpc.boundary.timeouts import Timeouts
from matting_gateway.rpc.boundary.unread import item_is_ready
from matting_gateway.rpc.photo.photo_wire import PhotoItem, PhotoRequest, item_pieces
from matting_gateway.traces import Trace

MAX_ITEM_ID_LENGTH = 128

Serve = Callable[[CallInfo, PhotoRequest, int, float, Permit, Trace | None], Awaitable[list[Buffer]]]


class ItemStream:
    """One open stream.

    Owns the tasks of its items, by item id. Invariants: an id is there exactly while its item
    is in work; every item started is answered once, unless the stream itself ends; no task
    outlives `run`. A permit is held before each message is read, and asked for once it has begun to come.
    """

    def __init__(
        self,
        context: ServerCall,
        call: CallInfo,
        *,
        acquire: Callable[[], Awaitable[Permit]],
        most_bytes: int,
        read: Callable[[Buffer], PhotoItem],
        serve: Serve,
        clock: Clock,
        draining: asyncio.Event,
        reading: Timeouts,
        on_bug: Callable[[CallInfo, Exception], None],
        max_item_count: int,
        default_ttl_s: float,
        idle_timeout_s: float,
    ) -> None:
        self._context = context
        self._call = call
        self._acquire = acquire
        self._read = read
        self._serve = serve
        self._clock = clock
        self._on_bug = on_bug
        self._reading = reading
        self._room = asyncio.Semaphore(max_item_count)
        self._messages = StreamMessages(
            context, draining=draining, idle_timeout_s=idle_timeout_s, busy=lambda: bool(self._tasks)
        )
        self._most_bytes = most_bytes
        self._default_ttl_s = default_ttl_s
        self._items: dict[str, asyncio.Task[None]] = {}
        self._given_up: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Serve until the caller has sent all and every item is answered."""
        try:
            try:
                async with self._messages:
                    while await self._next():
                        pass
            except GatewayError:  # reading ends, but what was accepted is answered first
                await self._settle()
                raise
            await self._settle()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _settle(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _next(self) -> bool:
        """Read one message and start what it asks for; tell whether more may come."""
        await self._room.acquire()
        permit: Permit | None = None
        try:
            came = await self._messages.next(self._acquire, most_bytes=self._most_bytes)
            if came is None:
                return False
            permit, data = came
            item, request_bytes = self._read(data), len(data)
            del came, data
            message = item.message
            if message.WhichOneof("action") == "cancel":
                self._cancel(message.item_id)
                return True
            problem = self._problem_of(message)
            if problem is not None:
                await self._answer(_error_pieces(message.item_id, to_status(problem)))
                return True
            self._start(item, request_bytes, permit)
            permit = None  # the item's own from here on
            return True
        finally:
            if permit is not None:
                permit.release()
                self._room.release()

    def _problem_of(self, message: pb.StreamRemoveBackgroundRequest) -> GatewayError | None:
        if not 1 <= len(message.item_id) <= MAX_ITEM_ID_LENGTH:
            return OptionInvalidError(f"item_id must have 1 to {MAX_ITEM_ID_LENGTH} characters.", field="item_id")
        if message.item_id in self._items:
            return OptionInvalidError("item_id is in use by an item that is not answered yet.", field="item_id")
        if message.WhichOneof("action") is None:
            return OptionInvalidError("The message asks for nothing: set `request` or `cancel`.", field="action")
        if message.HasField("time_to_live") and message.time_to_live.ToNanoseconds() <= 0:
            return DeadlineUnreachableError("time_to_live must be positive.", field="time_to_live")
        return None

    def _start(self, item: PhotoItem, request_bytes: int, permit: Permit) -> None:
        task = asyncio.create_task(self._serve_item(item, request_bytes, permit))
        self._items[item.message.item_id] = task
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._finished, permit))

    def _finished(self, permit: Permit, task: asyncio.Task[None]) -> None:
        permit.release()  # which a task that is cancelled before its first step has not done
        self._tasks.discard(task)
        self._room.release()
        self._messages.item_ended()
        if not task.cancelled():
            task.exception()  # an answer that could not be written: its caller is gone, and `run` is told so too

    async def _serve_item(self, item: PhotoItem, request_bytes: int, permit: Permit) -> None:
        message, item_id = item.message, item.message.item_id
        request, deadline_s = PhotoRequest(message.request, item.photo), self._deadline_s(message)
        trace = self._call.trace.item() if self._call.trace is not None else None
        since_s, error_type = self._clock.now(), ""
        # Held until the answer is written: until then its result is in memory.
        with self._call.byte_hold(permit):
            try:
                response = await self._serve(self._call, request, request_bytes, deadline_s, permit, trace)
                answer = item_pieces(item_id, response)
                permit.succeeded()
            except asyncio.CancelledError:
                error_type = "CANCELLED"
                if item_id not in self._given_up:  # the stream itself is ending
                    raise
                cancelled = status_pb2.Status(code=code_pb2.CANCELLED, message="The item was cancelled.")
                answer = _error_pieces(item_id, cancelled)
            except GatewayError as exc:
                error_type = exc.code.name
                answer = _error_pieces(item_id, to_status(without_frames(exc)))
            except Exception as exc:  # noqa: BLE001 - an item fails alone; what it was is for the operator's log
                error_type = "INTERNAL"
                self._on_bug(self._call, exc)
                answer = _error_pieces(item_id, to_status(without_frames(unexpected(exc))))
            finally:
                self._items.pop(item_id, None)
                self._given_up.discard(item_id)
                if trace is not None:
                    trace.end(since_s, self._clock.now(), error_type=error_type)
            with item_is_ready(self._context, permit, self._reading):
                await self._answer(answer)

    def _deadline_s(self, message: pb.StreamRemoveBackgroundRequest) -> float:
        ttl_s = self._default_ttl_s
        if message.HasField("time_to_live"):
            ttl_s = message.time_to_live.ToNanoseconds() / 1e9
        stream_s = self._call.deadline_s if self._call.has_deadline else math.inf
        return min(stream_s, self._clock.now() + ttl_s)

    def _cancel(self, item_id: str) -> None:
        task = self._items.get(item_id)
        if task is not None:
            self._given_up.add(item_id)
            task.cancel()

    async def _answer(self, pieces: list[Buffer]) -> None:
        async with self._writing:
            await self._context.write(pieces)


def _error_pieces(item_id: str, error: status_pb2.Status) -> list[Buffer]:
    return [pb.StreamRemoveBackgroundResponse(item_id=item_id, error=error).SerializeToString()]
