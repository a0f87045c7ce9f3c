# SPDX-License-Identifier: Apache-2.0
"""The photo door: matting.v1.MattingService."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from matting.v1 import matting_service_pb2 as pb

from matting_gateway.admission.gate import Gate, Permit
from matting_gateway.clock import Clock
from matting_gateway.domain import ModelContract
from matting_gateway.errors import OptionInvalidError, OverloadedError, ResidencyExceededError
from matting_gateway.pipeline import Pipeline
from matting_gateway.rpc.call import REQUEST_ID_KEY, Call, current_call
from matting_gateway.rpc.item_stream import ItemStream
from matting_gateway.rpc.wire import answer_to, model_to, parse_request, request_from
from matting_gateway.telemetry.metrics import Metrics

SERVICE = "matting.v1.MattingService"
REQUEST_BYTES_KEY = "x-matting-request-bytes"
PIXELS_KEY = "x-matting-pixels"
_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Limits of the photo door.

    `worst_bytes_per_pixel` is what one pixel of a photo may need at once in the imaging room.
    """

    max_message_bytes: int = 64 << 20
    max_pixels: int = 50_000_000
    worst_bytes_per_pixel: int = 12
    default_deadline_s: float = 30.0
    receive_timeout_s: float = 20.0
    max_residency_s: float = 120.0
    max_stream_count: int = 1024
    max_stream_item_count: int = 64
    stream_idle_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Promise:
    """The most memory that a call may need: what its metadata promises, or else every limit."""

    request_bytes: int
    pixel_count: int
    kept: bool

    def byte_count(self, worst_bytes_per_pixel: int) -> int:
        return self.request_bytes + self.pixel_count * worst_bytes_per_pixel

    def check(self, request_bytes: int) -> None:
        """Raise where the message is larger than promised."""
        if request_bytes > self.request_bytes:
            raise OptionInvalidError(
                f"The request is larger than its metadata {REQUEST_BYTES_KEY} promised; send its true length, or none.",
                field=REQUEST_BYTES_KEY,
            )


def promise_of(metadata: dict[str, str | bytes], settings: DoorSettings) -> Promise:
    """Return what a call's metadata promises; a promise left out or over a limit counts as the limit.

    Raises:
        OptionInvalidError: A promise that is no whole number.
    """
    request_bytes = _promised(metadata, REQUEST_BYTES_KEY)
    pixel_count = _promised(metadata, PIXELS_KEY)
    return Promise(
        min(settings.max_message_bytes if request_bytes is None else request_bytes, settings.max_message_bytes),
        min(settings.max_pixels if pixel_count is None else pixel_count, settings.max_pixels),
        kept=request_bytes is not None,
    )


def _promised(metadata: dict[str, str | bytes], key: str) -> int | None:
    value = metadata.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 18:
        raise OptionInvalidError(f"Metadata {key} must be a whole number in decimal digits.", field=key)
    return int(value)


class MattingService:
    """Handlers of the service. Message in, domain through the pipeline, message out; nothing else.

    Owns the count of open streams.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        gate: Gate,
        models: Callable[[], tuple[ModelContract, ...]],
        default_model: str,
        policy: Callable[[], pb.DataPolicy],
        authorize: Callable[[Call, str, int], Any],
        on_bug: Callable[[Call, Exception], None],
        clock: Clock,
        metrics: Metrics,
        settings: DoorSettings,
    ) -> None:
        self._pipeline = pipeline
        self._gate = gate
        self._models = models
        self._default_model = default_model
        self._policy = policy
        self._authorize = authorize
        self._on_bug = on_bug
        self._clock = clock
        self._settings = settings
        self._receive_seconds = metrics.stage_seconds.labels("receive")
        self._stream_count = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers for a grpc.aio server.

        RemoveBackground is unary on the wire and registered as client-streaming, so that its
        body is read only after the call is admitted.
        """
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "RemoveBackground": grpc.stream_unary_rpc_method_handler(
                    self.remove_background, None, pb.RemoveBackgroundResponse.SerializeToString
                ),
                "StreamRemoveBackground": grpc.stream_stream_rpc_method_handler(
                    self.stream_remove_background,
                    pb.StreamRemoveBackgroundRequest.FromString,
                    pb.StreamRemoveBackgroundResponse.SerializeToString,
                ),
                "ListModels": grpc.unary_unary_rpc_method_handler(
                    self.list_models, pb.ListModelsRequest.FromString, pb.ListModelsResponse.SerializeToString
                ),
                "GetDataPolicy": grpc.unary_unary_rpc_method_handler(
                    self.get_data_policy, pb.GetDataPolicyRequest.FromString, pb.GetDataPolicyResponse.SerializeToString
                ),
            },
        )

    async def remove_background(self, _requests: object, context: _Context) -> pb.RemoveBackgroundResponse:
        call = current_call()
        await context.send_initial_metadata(((REQUEST_ID_KEY, call.request_id),))
        promise = promise_of(call.metadata, self._settings)
        permit = await self._acquire(promise, call.deadline_s)
        with call.holding(permit):
            data = await self._receive(context)
            promise.check(len(data))
            return await self._serve(call, parse_request(data), len(data), call.deadline_s, permit)

    async def stream_remove_background(self, _requests: object, context: _Context) -> None:
        call = current_call()
        await context.send_initial_metadata(((REQUEST_ID_KEY, call.request_id),))
        if self._stream_count >= self._settings.max_stream_count:
            raise OverloadedError(
                f"{self._stream_count} streams are open already; close one or try again.", retry_after_s=1.0
            )
        self._stream_count += 1
        try:
            promise = promise_of(call.metadata, self._settings)
            stream = ItemStream(
                context,
                call,
                acquire=lambda: self._acquire(promise, call.deadline_s if call.has_deadline else math.inf),
                check=promise.check,
                serve=self._serve,
                clock=self._clock,
                on_bug=self._on_bug,
                default_ttl_s=self._settings.default_deadline_s,
                max_item_count=self._settings.max_stream_item_count,
                idle_timeout_s=self._settings.stream_idle_timeout_s,
            )
            await stream.run()
        finally:
            self._stream_count -= 1

    async def list_models(self, request: pb.ListModelsRequest, _context: _Context) -> pb.ListModelsResponse:
        if request.page_size < 0:
            raise OptionInvalidError("page_size must not be negative.", field="page_size")
        size = min(request.page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
        models = sorted((m for m in self._models() if m.name > request.page_token), key=lambda m: m.name)
        page = models[:size]
        return pb.ListModelsResponse(
            models=[model_to(m, default=m.name == self._default_model) for m in page],
            next_page_token=page[-1].name if len(models) > size else "",
        )

    async def get_data_policy(self, _request: pb.GetDataPolicyRequest, _context: _Context) -> pb.GetDataPolicyResponse:
        return pb.GetDataPolicyResponse(policy=self._policy())

    async def _acquire(self, promise: Promise, deadline_s: float) -> Permit:
        byte_count = promise.byte_count(self._settings.worst_bytes_per_pixel)
        return await self._gate.acquire(byte_count, deadline_s=deadline_s, promised=promise.kept)

    async def _receive(self, context: _Context) -> bytes:
        since_s = self._clock.now()
        try:
            async with asyncio.timeout(self._settings.receive_timeout_s):
                data = await context.read()
        except TimeoutError as exc:
            raise ResidencyExceededError(
                f"The request did not arrive within {self._settings.receive_timeout_s:g} s; send it faster."
            ) from exc
        if data is grpc.aio.EOF:
            raise OptionInvalidError("The call ended without a request message.", field="source")
        self._receive_seconds.observe(self._clock.now() - since_s)
        return bytes(data)

    async def _serve(
        self, call: Call, message: pb.RemoveBackgroundRequest, request_bytes: int, deadline_s: float, permit: Permit
    ) -> pb.RemoveBackgroundResponse:
        since_s = self._clock.now()
        request = request_from(message)
        message.Clear()
        call.model = request.model or self._default_model
        call.image_bytes = request_bytes
        ceiling_s = self._settings.max_residency_s
        with self._authorize(call, call.model, request_bytes):
            try:
                async with asyncio.timeout(ceiling_s):
                    answer = await self._pipeline.run(
                        request, deadline_s=deadline_s, permit=permit, request_bytes=request_bytes, tenant=call.tenant
                    )
            except TimeoutError as exc:
                raise ResidencyExceededError(f"No image is held for longer than {ceiling_s:g} s.") from exc
        return answer_to(answer, total_s=self._clock.now() - since_s)
