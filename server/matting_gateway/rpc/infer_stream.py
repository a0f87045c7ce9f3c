# SPDX-License-Identifier: Apache-2.0
"""ModelStreamInfer: many requests over one call, answered in the order they came.

What only the model's own server understands (decoupled models, sequences) goes to a stream of
its own behind the gateway, and its answers come as that server gives them.
"""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from tritonclient.grpc import service_pb2

from matting_gateway.admission.permit import Permit
from matting_gateway.clock import Clock
from matting_gateway.domain import Buffer
from matting_gateway.errors import BackendUnavailableError, DrainingError, GatewayError
from matting_gateway.grpc_server.call import ServerCall
from matting_gateway.rpc.call import Call
from matting_gateway.rpc.infer_service import InferService
from matting_gateway.rpc.infer_wire import join_and_release
from matting_gateway.rpc.infer_work import Arrived
from matting_gateway.rpc.passed_on import affinity_of
from matting_gateway.rpc.promise import DoorSettings
from matting_gateway.rpc.status import unexpected
from matting_gateway.rpc.stream_messages import StreamMessages
from matting_gateway.rpc.timeouts import Timeouts
from matting_gateway.rpc.unread import item_is_ready
from matting_gateway.triton import wire
from matting_gateway.triton.passage import Passage

_RESPONSE_FIELD = service_pb2.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER


class InferStream:
    """One open stream.

    Owns the tasks of its items and the streams opened behind it. Invariants: an item's answer is
    written after those of the items before it; a permit is held before each message is read;
    nothing outlives `run`.
    """

    def __init__(
        self,
        context: ServerCall,
        call: Call,
        *,
        service: InferService,
        passage: Passage,
        acquire: Callable[[float], Awaitable[Permit]],
        most_bytes: int,
        charge: Callable[[], None],
        draining: asyncio.Event,
        reading: Timeouts,
        on_bug: Callable[[Call, Exception], None],
        clock: Clock,
        settings: DoorSettings,
    ) -> None:
        self._context = context
        self._call = call
        self._service = service
        self._passage = passage
        self._acquire = acquire
        self._most_bytes = most_bytes
        self._charge = charge
        self._messages = StreamMessages(
            context,
            draining=draining,
            idle_timeout_s=settings.stream_idle_timeout_s,
            busy=lambda: bool(self._items or self._behind),
        )
        self._on_bug = on_bug
        self._clock = clock
        self._settings = settings
        self._reading = reading
        self._room = asyncio.Semaphore(settings.max_stream_item_count)
        self._writing = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._last_written: asyncio.Future[None] | None = None
        self._items: set[asyncio.Task[None]] = set()
        # By model and affinity: the stream behind, and the task that brings its answers.
        self._behind: dict[tuple[str, str], tuple[grpc.aio.StreamStreamCall[bytes, bytes], asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Serve until the caller has sent all and everything is answered."""
        try:
            async with self._messages:
                while await self._next():
                    pass
            while self._items:
                await asyncio.wait(self._items)
            for stream, _ in self._behind.values():
                await stream.done_writing()
            await asyncio.gather(*(task for _, task in self._behind.values()))
        finally:
            tasks = [*self._items, *(task for _, task in self._behind.values())]
            for stream, _ in self._behind.values():
                stream.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self) -> bool:
        """Read one message and start what it asks for; tell whether more may come."""
        await self._room.acquire()
        permit: Permit | None = None
        try:
            if not await self._next_begun():
                return False
            permit = await self._acquire(self._deadline_s())
            message = await self._read(permit)
            if message is None:
                return False
            permit.shrink(2 * len(message))
            self._start(self._item(message, permit))
            permit = None  # the item's own from here on
            return True
        finally:
            if permit is not None:
                permit.release()
                self._room.release()

    def _deadline_s(self) -> float:
        own_s = self._clock.now() + self._settings.default_deadline_s
        return self._call.deadline_s if self._call.has_deadline else own_s

    async def _next_begun(self) -> bool:
        """Wait until the next message has begun to come; tell whether one may, as the gateway does not drain."""
        try:
            await self._messages.next_begun()
        except DrainingError:
            return False
        return True

    async def _read(self, permit: Permit) -> Buffer | None:
        """Wait for a message; None at the end, or when the gateway drains."""
        try:
            message = await self._messages.read(permit, most_bytes=self._most_bytes)
        except DrainingError:
            return None
        return None if message is grpc.aio.EOF else message

    def _start(self, item: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(item())
        self._items.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._items.discard(task)
        self._room.release()
        self._messages.item_ended()
        if not task.cancelled():
            task.exception()  # an answer that could not be written: its caller is gone, and `run` is told so too

    def _item(self, message: Buffer, permit: Permit) -> Callable[[], Awaitable[None]]:
        """Return what answers one message once the item before it is answered."""
        before = self._last_written
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_written = written

        async def serve() -> None:
            try:
                with self._call.holding(permit):
                    answer = await self._answer(message)
                    with item_is_ready(self._context, permit, self._reading):
                        if before is not None:
                            await before
                        if answer is not None:
                            await self._write(answer)
            finally:
                if not written.done():
                    written.set_result(None)

        return serve

    async def _answer(self, message: Buffer) -> list[Buffer] | None:
        """Return the message that answers; None where a stream behind will."""
        request_id = ""
        try:
            self._charge()
            arrived = self._service.arrive(message, self._call)
            request_id = arrived.header.id
            if arrived.contract.decoupled or arrived.only_the_model_understands:
                async with self._sending:  # a sequence is in order or it is nothing
                    await self._send_behind(arrived)
                return None
            pieces = await self._service.answer(arrived, self._call, self._deadline_s())
            return [wire.head(_RESPONSE_FIELD, sum(map(len, pieces))), *pieces]
        except GatewayError as exc:
            return _error(exc.message, request_id)
        except Exception as exc:  # noqa: BLE001 - an item fails alone; what it was is for the operator's log
            self._on_bug(self._call, exc)
            return _error(unexpected(exc).message, request_id)

    async def _send_behind(self, arrived: Arrived) -> None:
        header = arrived.header
        key = (header.model, affinity_of(header, arrived.contract))
        if key not in self._behind:
            stream = self._passage.open_stream(model=key[0], affinity=key[1])
            self._behind[key] = (stream, asyncio.ensure_future(self._bring_answers(key, stream)))
        try:
            await self._behind[key][0].write(bytes(arrived.message))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as exc:
            raise BackendUnavailableError("The model's server ended the stream; open another.") from exc

    async def _bring_answers(self, key: tuple[str, str], stream: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        try:
            while isinstance(message := await stream.read(), bytes):
                await self._write([bytes(message)])
        except grpc.aio.AioRpcError as exc:
            del self._behind[key]
            await self._write(_error(f"The stream to the model's server broke: {exc.code().name}", ""))

    async def _write(self, pieces: list[Buffer]) -> None:
        async with self._writing:
            await self._context.write(join_and_release(pieces))


def _error(text: str, request_id: str) -> list[Buffer]:
    response = service_pb2.ModelStreamInferResponse(error_message=text)
    if request_id:
        response.infer_response.id = request_id
    return [response.SerializeToString()]
