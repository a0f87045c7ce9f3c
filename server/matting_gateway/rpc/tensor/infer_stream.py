# SPDX-License-Identifier: Apache-2.0
"""ModelStreamInfer: many requests over one call, answered in the order they came.

What only the model's own server understands (decoupled models, sequences) goes to a stream of
its own behind the gateway, and its answers come as that server gives them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
from grpc_h2.server.call import ServerCall

from matting_gateway.admission.permit import Awaiting, Permit
from matting_gateway.errors import BackendUnavailableError, DrainingError
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.promise import COPIES_HELD
from matting_gateway.rpc.boundary.stream_messages import StreamMessages
from matting_gateway.rpc.tensor.infer_item import InferItem, error_answer
from matting_gateway.rpc.tensor.infer_work import Arrived
from matting_gateway.rpc.tensor.inference import InferDependencies
from matting_gateway.rpc.tensor.passed_on import affinity_of
from matting_gateway.triton.pool.passthrough import Passthrough


class InferStream:
    """One open stream.

    Owns its items, in order, the one that is being written, and the streams opened behind it. Invariants: an item's
    answer is written after those of the items before it, as soon as these have been; a permit is held before each
    message is read, until its answer has been written; nothing outlives `run`.
    """

    def __init__(
        self,
        dependencies: InferDependencies,
        context: ServerCall,
        call: CallInfo,
        *,
        passthrough: Passthrough,
        acquire: Callable[[float], Awaitable[Permit]],
        most_bytes: int,
    ) -> None:
        self._dependencies = dependencies
        self._context = context
        self._call = call
        self._passage = passthrough
        self._acquire = acquire
        self._most_bytes = most_bytes
        self._messages = StreamMessages(
            context,
            draining=dependencies.calls.draining,
            idle_timeout_s=dependencies.calls.settings.stream_idle_timeout_s,
            busy=lambda: bool(self._items or self._written or self._behind),
        )
        self._room = asyncio.Semaphore(dependencies.calls.settings.max_stream_item_count)
        self._items: deque[InferItem] = deque()
        self._written: InferItem | None = None  # whose answer is on its way
        self._unread: Awaiting | None = None  # exactly while it did not leave at once
        self._all_written: asyncio.Future[None] | None = None  # for who waits for it
        self._sending = asyncio.Lock()
        # By model and affinity: the stream behind, and the task that brings its answers.
        self._behind: dict[tuple[str, str], tuple[grpc.aio.StreamStreamCall[bytes, bytes], asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Serve until the caller has sent all and everything is answered."""
        try:
            with suppress(DrainingError):  # what was accepted is answered, and the stream then ends well
                async with self._messages:
                    while await self._next():
                        pass
            if self._items or self._written:
                self._all_written = asyncio.get_running_loop().create_future()
                await self._all_written
            for stream, _ in self._behind.values():
                await stream.done_writing()
            await asyncio.gather(*(task for _, task in self._behind.values()))
        finally:
            self._end_items()
            tasks = [task for _, task in self._behind.values()]
            for stream, _ in self._behind.values():
                stream.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end_items(self) -> None:
        if self._unread is not None:
            self._unread.end()
        if self._written is not None:
            self._written.stop()
        while self._items:
            self._items.popleft().stop()

    async def _next(self) -> bool:
        """Read one message and start what it asks for; tell whether more may come."""
        await self._room.acquire()
        permit: Permit | None = None
        try:
            came = await self._messages.next(lambda: self._acquire(self._deadline_s()), most_bytes=self._most_bytes)
            if came is None:
                return False
            permit, message = came
            permit.shrink(COPIES_HELD * len(message))
            item = InferItem(
                self._dependencies,
                self._call,
                self._deadline_s(),
                permit,
                on_answer=self._item_answered,
                send_behind=self._send_behind,
            )
            permit = None  # the item's own from here on
            self._items.append(item)
            item.begin(message)
            return True
        finally:
            if permit is not None:
                permit.release()
                self._room.release()

    def _deadline_s(self) -> float:
        calls = self._dependencies.calls
        own_s = calls.clock.now() + calls.settings.default_deadline_s
        return self._call.deadline_s if self._call.has_deadline else own_s

    # --- answers, in order ------------------------------------------------------------------

    def _item_answered(self, item: InferItem) -> None:
        self._write_on()
        item.keep()  # what waits for others: the memory of its tensors is wanted elsewhere

    def _write_on(self) -> None:
        """Write what is answered, up to the first item that is not, for as long as it leaves at once."""
        while self._items and self._written is None and (item := self._items[0]).answer is not None:
            self._written = self._items.popleft()
            answer = item.take_answer()
            if not answer:
                self._note_written()
                continue
            self._context.give(answer, self._note_written)
            if self._written is item:
                self._unread = item.permit.unread(lambda: self._context.taken_bytes, self._context.cut_off)

    def _note_written(self) -> None:
        item, self._written = self._written, None
        if item is not None:
            item.end()
            self._room.release()
            self._messages.item_ended()
        if self._unread is not None:  # told later, and not by `_write_on`
            self._unread.end()
            self._unread = None
            self._write_on()
        if self._all_written is not None and not self._items and self._written is None and not self._all_written.done():
            self._all_written.set_result(None)

    # --- what only the model's own server understands ----------------------------------------

    async def _send_behind(self, arrived: Arrived) -> None:
        async with self._sending:  # a sequence is in order or it is nothing
            await self._send_in_order(arrived)

    async def _send_in_order(self, arrived: Arrived) -> None:
        header = arrived.header
        key = (header.model, affinity_of(header, arrived.contract))
        if key not in self._behind:
            stream = self._passage.open_stream(model=key[0], affinity=key[1], traceparent=self._call.traceparent)
            self._behind[key] = (stream, asyncio.ensure_future(self._bring_answers(key, stream)))
        try:
            await self._behind[key][0].write(bytes(arrived.message))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as exc:
            raise BackendUnavailableError("The model's server ended the stream; open another.") from exc

    async def _bring_answers(self, key: tuple[str, str], stream: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        try:
            while isinstance(message := await stream.read(), bytes):
                await self._context.write(bytes(message))
        except grpc.aio.AioRpcError as exc:
            del self._behind[key]
            await self._context.write(
                b"".join(error_answer(f"The stream to the model's server broke: {exc.code().name}", ""))
            )
