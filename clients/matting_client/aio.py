# SPDX-License-Identifier: Apache-2.0
"""The asyncio client."""

import asyncio
import os
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import Self

import grpc
import grpc.aio
from matting.v1 import matting_service_pb2 as pb

from matting_client.aio_stream import AsyncStream
from matting_client.answers import Answer, DataPolicy, Model, read_answer, read_model, read_policy
from matting_client.photos import OutputSpec, Photo, Priority, build_request
from matting_client.stream import StreamItem
from matting_client.transport.calls import (
    DEFAULT_TIMEOUT_S,
    GET_DATA_POLICY,
    LIST_MODELS,
    REMOVE_BACKGROUND,
    STREAM_REMOVE_BACKGROUND,
    Method,
    Request,
    Response,
    Settings,
    check_timeout,
    make_settings,
    new_request_id,
)
from matting_client.transport.connection import (
    DEFAULT_ADDRESS,
    MAX_MESSAGE_BYTES,
    Connection,
    Tls,
    Token,
    open_channel,
)
from matting_client.transport.failures import error_of_call
from matting_client.transport.receipt import Receipt, receipt_of
from matting_client.transport.retry import RetryPolicy, RetryStatistics


class AsyncClient:
    """The client for asyncio; see `Client` for the arguments and the errors.

    Owns one channel, and the retry budget that all its calls share. Made and used on one event
    loop. Cancelling a task that waits for an answer cancels the call at the server.
    """

    def __init__(
        self,
        *addresses: str,
        tls: Tls | None = None,
        token: Token | None = None,
        token_over_plaintext: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        connection = Connection(addresses or (DEFAULT_ADDRESS,), tls, token, token_over_plaintext, max_message_bytes)
        self._settings: Settings = make_settings(connection, timeout_s, retry, clock)
        self._sleep = sleep
        self._channel = open_channel(grpc.aio.insecure_channel, grpc.aio.secure_channel, connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._settings.connection!r} {self._settings.budget!r}>"

    async def close(self) -> None:
        """Close the channel; calls in progress fail."""
        await self._channel.close()

    def statistics(self) -> RetryStatistics:
        """Return how the retry budget stands."""
        return self._settings.budget.statistics()

    async def remove_background(
        self,
        photo: Photo,
        outputs: Sequence[OutputSpec] = (),
        *,
        model: str = "",
        version: str = "",
        priority: Priority = "normal",
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Answer:
        """Separate the subject of one photo from its background; see `Client.remove_background`."""
        if isinstance(photo, str | os.PathLike):
            request = await asyncio.to_thread(
                build_request, photo, outputs, model=model, version=version, priority=priority
            )
        else:
            request = build_request(photo, outputs, model=model, version=version, priority=priority)
        request_id = request_id or new_request_id()
        message, receipt = await self._call(REMOVE_BACKGROUND, request, timeout_s, request_id)
        return read_answer(message, request_id=request_id, receipt=receipt)

    def stream(
        self,
        items: AsyncIterable[StreamItem] | Iterable[StreamItem],
        *,
        max_in_flight: int = 8,
        timeout_s: float | None = None,
    ) -> AsyncStream:
        """Send many photos over one call: `async with client.stream(items) as answers: async for ...`.

        Never more than `max_in_flight` items are unanswered at once. Nothing is retried: an item
        that failed answers with its error, and the stream goes on. `timeout_s` limits the whole
        stream; None: no limit.
        """
        check_timeout(timeout_s)
        request_id = new_request_id()
        call = self._channel.stream_stream(*STREAM_REMOVE_BACKGROUND)
        metadata = grpc.aio.Metadata(*self._settings.metadata(request_id))
        return AsyncStream(lambda: call(timeout=timeout_s, metadata=metadata), items, max_in_flight, request_id)

    async def list_models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Return all models that can be named in a request, in order of name."""
        models: list[Model] = []
        page_token = ""
        while True:
            request = pb.ListModelsRequest(page_token=page_token)
            message, _ = await self._call(LIST_MODELS, request, timeout_s, new_request_id())
            models += map(read_model, message.models)
            page_token = message.next_page_token
            if not page_token:
                return tuple(models)

    async def data_policy(self, *, timeout_s: float | None = None) -> DataPolicy:
        """Return what the running server does with data."""
        message, _ = await self._call(GET_DATA_POLICY, pb.GetDataPolicyRequest(), timeout_s, new_request_id())
        return read_policy(message.policy)

    async def _call(
        self, method: Method[Request, Response], request: Request, timeout_s: float | None, request_id: str
    ) -> tuple[Response, Receipt | None]:
        attempts = self._settings.attempts(timeout_s)
        send = self._channel.unary_unary(*method)
        metadata = grpc.aio.Metadata(*self._settings.metadata(request_id, request))
        while True:
            call = send(request, timeout=attempts.remaining_s(), metadata=metadata)
            try:
                message = await call
            except grpc.aio.AioRpcError as failure:
                error = error_of_call(failure, request_id=request_id)
                wait_s = attempts.wait_before_next(error)
                if wait_s is None:
                    raise error from failure
                await self._sleep(wait_s)
            else:
                attempts.succeeded()
                return message, receipt_of(await call.trailing_metadata())
