# SPDX-License-Identifier: Apache-2.0
"""The tensor door: inference.GRPCInferenceService, the Open Inference Protocol as Triton speaks it."""

import functools

import grpc
from grpc_h2.server.bare_call import BareCall
from grpc_h2.server.call import ServerCall
from tritonclient.grpc import service_pb2

from matting_gateway.admission.permit import Permit
from matting_gateway.errors import PermissionDeniedError
from matting_gateway.rpc.boundary.call_dependencies import CallDependencies
from matting_gateway.rpc.boundary.call_info import current_call
from matting_gateway.rpc.boundary.call_sender import CallSender
from matting_gateway.rpc.boundary.promise import Promise, promise_of
from matting_gateway.rpc.tensor.client_memory import ClientMemory
from matting_gateway.rpc.tensor.infer_call import InferCall
from matting_gateway.rpc.tensor.infer_service import InferService
from matting_gateway.rpc.tensor.infer_stream import InferStream
from matting_gateway.rpc.tensor.infer_work import Queue
from matting_gateway.rpc.tensor.inference import InferDependencies
from matting_gateway.rpc.tensor.memory_rpcs import memory_handlers
from matting_gateway.rpc.tensor.model_rpcs import ModelRpcs
from matting_gateway.rpc.tensor.model_statistics import ModelStatistics
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton.pool.pool import Pool

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
INFER_METHOD = f"/{SERVICE}/ModelInfer"
_CONTROL = {
    "RepositoryModelLoad": "Which models are loaded is for the operator of the Tritons to decide.",
    "RepositoryModelUnload": "Which models are loaded is for the operator of the Tritons to decide.",
    "TraceSetting": "Traces could write tensors to files; they are for the operator of the Tritons to switch on.",
    "LogSettings": "Logs are for the operator of the gateway to set.",
}

_Context = ServerCall


class OpenInference:
    """Handlers of the service; owns the regions of callers' shared memory."""

    def __init__(
        self,
        dependencies: CallDependencies,
        *,
        pool: Pool,
        queue: Queue,
        metrics: Metrics,
        client_shared_memory: bool = False,
    ) -> None:
        settings, tenants, clock = dependencies.settings, dependencies.tenants, dependencies.clock
        self._calls = dependencies
        self._memory = ClientMemory(allowed=client_shared_memory)
        self._statistics = ModelStatistics(pool.executions, clock=clock)
        self._models = ModelRpcs(
            pool=pool, tenants=tenants, statistics=self._statistics, timeout_s=settings.receive_timeout_s
        )
        service = InferService(
            pool=pool,
            tenants=tenants,
            memory=self._memory,
            statistics=self._statistics,
            clock=clock,
            metrics=metrics,
            max_residency_s=settings.max_residency_s,
            limits=settings.message_limits,
        )
        self._dependencies = InferDependencies(dependencies, queue, service)
        self._pool = pool

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers of all methods but ModelInfer. Messages with tensors pass as bytes."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self.model_stream_infer),
                **self._models.handlers(),
                **memory_handlers(self._memory),
                **{name: _refusing(text) for name, text in _CONTROL.items()},
            },
        )

    def serve(self, context: BareCall) -> None:
        """Serve one call of `INFER_METHOD`, without a task. Its body is read only once the call is admitted."""
        InferCall(self._dependencies, context, self._calls.scope(INFER_METHOD, context)).begin()

    def close(self) -> None:
        """Let go of callers' shared memory."""
        self._memory.close()

    async def model_stream_infer(self, _requests: object, context: _Context) -> None:
        call = current_call()
        promise = promise_of(call.metadata, self._calls.settings)
        await InferStream(
            self._dependencies,
            context,
            call,
            passthrough=self._pool.passthrough,
            acquire=functools.partial(self._acquire, promise, CallSender(context, call)),
            most_bytes=promise.request_bytes,
        ).run()

    async def _acquire(self, promise: Promise, sender: CallSender, deadline_s: float) -> Permit:
        byte_count = promise.message_bytes(sender.announced_bytes)
        gate = self._calls.gate
        return await gate.acquire(byte_count, deadline_s=deadline_s, promised=promise.kept, sender=sender)


def _refusing(text: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
    async def refuse(_request: bytes, _context: _Context) -> bytes:
        raise PermissionDeniedError(text)

    return grpc.unary_unary_rpc_method_handler(refuse)
