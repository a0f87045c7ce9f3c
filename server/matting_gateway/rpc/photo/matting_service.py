# SPDX-License-Identifier: Apache-2.0
"""The photo door: matting.v1.MattingService."""

import functools
import math
from collections.abc import Callable

import grpc
from grpc_h2.server.bare_call import BareCall
from grpc_h2.server.call import ServerCall
from matting.v1 import matting_service_pb2 as pb
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Permit
from matting_gateway.domain.model import ModelContract
from matting_gateway.domain.photo import Refinement
from matting_gateway.errors import OptionInvalidError, OverloadedError, ResidencyExceededError
from matting_gateway.pipeline import Pipeline
from matting_gateway.rpc.boundary.call_dependencies import CallDependencies
from matting_gateway.rpc.boundary.call_info import REQUEST_ID_KEY, CallInfo, current_call
from matting_gateway.rpc.boundary.call_sender import CallSender
from matting_gateway.rpc.boundary.promise import Promise, promise_of
from matting_gateway.rpc.boundary.timeouts import Timeouts
from matting_gateway.rpc.photo.conversions import model_to, request_from
from matting_gateway.rpc.photo.item_stream import ItemStream
from matting_gateway.rpc.photo.photo_call import PhotoCall, need_bytes
from matting_gateway.rpc.photo.photo_wire import PhotoReader, PhotoRequest, answer_pieces
from matting_gateway.traces import Trace

SERVICE = "matting.v1.MattingService"
PHOTO_METHOD = f"/{SERVICE}/RemoveBackground"
_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000
# Solving for an edge takes as long as so many pixels more, and is taken off a tenant's megapixels so.
_SOLVING_PIXELS = 8_000_000

_Context = ServerCall


class MattingService:
    """Handlers of the service. Message in, domain through the pipeline, message out; nothing else.

    Owns the count of open streams.
    """

    def __init__(
        self,
        dependencies: CallDependencies,
        *,
        pipeline: Pipeline,
        models: Callable[[], tuple[ModelContract, ...]],
        default_model: str,
        policy: Callable[[], pb.DataPolicy],
    ) -> None:
        settings = dependencies.settings
        self._dependencies = dependencies
        self._pipeline = pipeline
        self._models = models
        self._default_model = default_model
        self._policy = policy
        self._tenants = dependencies.tenants
        self._clock = dependencies.clock
        self._settings = settings
        self._residency = Timeouts(settings.max_residency_s)
        self._reader = PhotoReader(settings.message_limits)
        self._reading = Timeouts(min(settings.default_deadline_s, settings.max_residency_s))
        self._stream_count = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers of all methods but RemoveBackground."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamRemoveBackground": grpc.stream_stream_rpc_method_handler(
                    self.stream_remove_background, None, None
                ),
                "ListModels": grpc.unary_unary_rpc_method_handler(
                    self.list_models, pb.ListModelsRequest.FromString, pb.ListModelsResponse.SerializeToString
                ),
                "GetDataPolicy": grpc.unary_unary_rpc_method_handler(
                    self.get_data_policy, pb.GetDataPolicyRequest.FromString, pb.GetDataPolicyResponse.SerializeToString
                ),
            },
        )

    def remove_background(self, context: BareCall) -> None:
        """Serve one call of `PHOTO_METHOD`. Its body is read only once the call is admitted."""
        scope = self._dependencies.scope(PHOTO_METHOD, context)
        PhotoCall(self._dependencies, context, scope, read=self._reader.request, serve=self._serve).begin()

    async def stream_remove_background(self, _requests: object, context: _Context) -> None:
        call = current_call()
        if self._stream_count >= self._settings.max_stream_count:
            raise OverloadedError(
                f"{self._stream_count} streams are open already; close one or try again.", retry_after_s=1.0
            )
        self._stream_count += 1
        try:
            context.set_initial_metadata(((REQUEST_ID_KEY, call.request_id),))
            promise = promise_of(call.metadata, self._settings)
            sender = CallSender(context, call)
            stream = ItemStream(
                context,
                call,
                acquire=lambda: self._acquire(promise, call.deadline_s if call.has_deadline else math.inf, sender),
                most_bytes=promise.request_bytes,
                read=self._reader.item,
                serve=functools.partial(self._serve_item, promise=promise),
                draining=self._dependencies.draining,
                reading=self._reading,
                clock=self._clock,
                on_bug=self._dependencies.on_bug,
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

    async def _acquire(self, promise: Promise, deadline_s: float, sender: CallSender) -> Permit:
        byte_count = need_bytes(promise, sender.announced_bytes, self._settings)
        gate = self._dependencies.gate
        return await gate.acquire(byte_count, deadline_s=deadline_s, promised=promise.kept, sender=sender)

    async def _serve_item(
        self,
        call: CallInfo,
        request: PhotoRequest,
        request_bytes: int,
        deadline_s: float,
        permit: Permit,
        trace: Trace | None,
        *,
        promise: Promise,
    ) -> list[Buffer]:
        self._tenants.charge_request(call.tenant)
        return await self._serve(call, request, request_bytes, deadline_s, permit, trace, promise)

    async def _serve(
        self,
        call: CallInfo,
        received: PhotoRequest,
        request_bytes: int,
        deadline_s: float,
        permit: Permit,
        trace: Trace | None,
        promise: Promise,
    ) -> list[Buffer]:
        since_s = self._clock.now()
        request = request_from(*received)
        received.message.Clear()
        name = request.model or self._default_model
        tenant = call.tenant
        self._tenants.check_model(tenant, name)

        solving = _SOLVING_PIXELS * sum(output.refinement is Refinement.MATTING for output in request.outputs)

        def on_pixels(pixel_count: int) -> None:
            call.model, call.pixel_count = name, pixel_count
            promise.check_pixels(pixel_count)
            self._tenants.charge_pixels(tenant, pixel_count + solving)

        with self._tenants.hold_bytes(tenant, request_bytes):
            try:
                with self._residency.block():
                    answer = await self._pipeline.run(
                        request,
                        deadline_s=deadline_s,
                        permit=permit,
                        request_bytes=request_bytes,
                        tenant=tenant.name,
                        on_pixels=on_pixels,
                        trace=trace,
                    )
            except TimeoutError as exc:
                text = f"No image is held for longer than {self._residency.seconds:g} s."
                raise ResidencyExceededError(text) from exc
        call.queue_s, call.inference_s = answer.queue_s, answer.inference_s
        return answer_pieces(answer, total_s=self._clock.now() - since_s)
