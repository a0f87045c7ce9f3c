# SPDX-License-Identifier: Apache-2.0
"""Many photos over one call, for asyncio."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, Self

import grpc
import grpc.aio
from matting.v1 import matting_service_pb2 as pb

from matting_client.stream import Ledger, StreamAnswer, StreamItem, cancel_message, item_message
from matting_client.transport.receipt import Receipt, receipt_of


class AsyncStream(AsyncIterator[StreamAnswer]):
    """The answers of a stream, as they come; used as `async with`, which cancels what is left.

    Owns the call, the ledger, and the task that feeds items in. All on one event loop. A stream
    that breaks raises the `MattingError` of its status, whose `details.unanswered_item_ids` names
    the items that no answer came for; an error of `items` itself is raised as it is.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        items: AsyncIterable[StreamItem] | Iterable[StreamItem],
        max_in_flight: int,
        request_id: str,
    ) -> None:
        self.request_id = request_id
        self._ledger = Ledger(max_in_flight, request_id)
        self._room = asyncio.Event()
        self._room.set()
        self._start = start
        self._items = items
        self._exhausted = False
        self._ended = False
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._feeder: asyncio.Task[None] | None = None
        self._receipt: Receipt | None = None

    def __repr__(self) -> str:
        return f"<AsyncStream {self.request_id}: {len(self._ledger.unanswered_item_ids)} unanswered>"

    async def __aenter__(self) -> Self:
        self._call = self._start()
        self._feeder = asyncio.create_task(self._feed())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def __anext__(self) -> StreamAnswer:
        if self._call is None or self._feeder is None:
            raise RuntimeError("enter the stream first: async with client.stream(items) as answers")
        try:
            message = await self._call.read()
        except asyncio.CancelledError:
            self._raise_feeder_error()
            raise
        except grpc.aio.AioRpcError as failure:
            self._raise_feeder_error()
            raise self._ledger.broken(failure) from failure
        if message is not grpc.aio.EOF:
            answer = self._ledger.close(message)
            self._room.set()
            await self._end_when_answered()
            return answer
        self._receipt = receipt_of(await self._call.trailing_metadata())
        self._raise_feeder_error()
        if not self._ended:
            raise self._ledger.ended_early()
        raise StopAsyncIteration

    @property
    def receipt(self) -> Receipt | None:
        """What became of the images, known once the stream has ended."""
        return self._receipt

    async def cancel(self, item_id: str) -> None:
        """Give up on an item: it answers with `CallCancelledError`, unless its answer is under way already."""
        if item_id in self._ledger.unanswered_item_ids:
            # Where the call has ended the reader says why.
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await self._write(cancel_message(item_id))

    async def close(self) -> None:
        """Cancel the call; a no-op where it has ended."""
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.wait([self._feeder])
        if self._call is not None:
            self._call.cancel()

    async def _feed(self) -> None:
        try:
            items = _each(self._items)
            await self._wait_for_room()
            while (item := await anext(items, None)) is not None:
                # A photo may be a path, and reading it must not stop the loop.
                message = await asyncio.to_thread(item_message, item)
                self._ledger.open(item.item_id)
                await self._write(message)
                await self._wait_for_room()
            self._exhausted = True
            await self._end_when_answered()
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            return  # the call has ended; the reader says why
        except Exception:
            self._call.cancel()  # wakes the reader, which raises this error
            raise

    async def _wait_for_room(self) -> None:
        while self._ledger.full:
            self._room.clear()
            await self._room.wait()

    async def _end_when_answered(self) -> None:
        """End the requests, but not before all are answered: until then an item can be cancelled."""
        if self._exhausted and not self._ended and not self._ledger.unanswered_item_ids:
            self._ended = True
            async with self._writing:
                await self._call.done_writing()

    async def _write(self, message: pb.StreamRemoveBackgroundRequest) -> None:
        # grpc.aio breaks the call where a write begins before the one before it is through.
        async with self._writing:
            await self._call.write(message)

    def _raise_feeder_error(self) -> None:
        if self._feeder is not None and self._feeder.done() and not self._feeder.cancelled():
            error = self._feeder.exception()
            if error is not None:
                raise error


async def _each(items: AsyncIterable[StreamItem] | Iterable[StreamItem]) -> AsyncIterator[StreamItem]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
