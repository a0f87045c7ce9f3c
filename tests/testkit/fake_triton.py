# SPDX-License-Identifier: Apache-2.0
"""A Triton that speaks the real protocol on a real socket, and can be told to misbehave as the real one never would."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from testkit.fake_server import FakeServer

Answer = Callable[[service_pb2.ModelInferRequest], Awaitable[service_pb2.ModelInferResponse]]


def uint8(name: str, dims: tuple[int, ...], kind: str) -> Any:
    """Return a ModelInput or ModelOutput of a configuration."""
    make = model_config_pb2.ModelInput if kind == "input" else model_config_pb2.ModelOutput
    return make(name=name, data_type=model_config_pb2.TYPE_UINT8, dims=dims)


def echo_config(name: str = "echo", *, max_batch_size: int = 4, width: int = 3) -> model_config_pb2.ModelConfig:
    """Return the configuration of a model with one input `x` and one output `y`, UINT8 rows of `width`."""
    return model_config_pb2.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=max_batch_size,
        input=[uint8("x", (width,), "input")],
        output=[uint8("y", (width,), "output")],
        instance_group=[
            model_config_pb2.ModelInstanceGroup(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        ],
    )


async def echo(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
    """Answer `y` with what came as the first input."""
    shape = request.inputs[0].shape
    response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=request.model_version or "1")
    response.outputs.add(name="y", datatype="UINT8", shape=shape)
    response.raw_output_contents.append(request.raw_input_contents[0][: prod(shape)])
    return response


@dataclass
class FakeModel:
    """A model: its configuration, what it answers, and the versions that are ready."""

    config: model_config_pb2.ModelConfig
    answer: Answer = echo
    versions: list[str] = field(default_factory=lambda: ["1"])


class FakeTriton(FakeServer, service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated without types
    """The server. `models` may be changed while it runs; `requests` are those that reached a model.

    `unready` has the state and the reason of models that are there and not ready.
    With `credentials` it speaks TLS; `callers` are the names in the certificates of those who sent requests.
    `traceparents` are what came beside the requests, "" where nothing did.
    """

    def __init__(
        self, *models: FakeModel, shared_memory: bool = False, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        super().__init__(credentials)
        self.models = {model.config.name: model for model in models}
        self.requests: list[service_pb2.ModelInferRequest] = []
        self.arrived = asyncio.Condition()
        self.live = True
        self.unready: dict[str, tuple[str, str]] = {}
        self.regions: list[str] = []
        self.callers: list[str] = []
        self.traceparents: list[str] = []
        self._shared_memory = shared_memory

    def _serve(self, server: grpc.aio.Server) -> None:
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)

    async def wait_for_requests(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's names
        return service_pb2.ServerLiveResponse(live=self.live)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=self.live)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version="fake", extensions=["statistics"])

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        entry = service_pb2.RepositoryIndexResponse.ModelIndex
        ready = [
            entry(name=name, version=version, state="READY")
            for name, model in self.models.items()
            for version in model.versions
        ]
        unready = [
            entry(name=name, version="1", state=state, reason=reason) for name, (state, reason) in self.unready.items()
        ]
        return service_pb2.RepositoryIndexResponse(models=ready if request.ready else ready + unready)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self.models.get(request.name)
        if model is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        return service_pb2.ModelConfigResponse(config=model.config if model else None)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self.models.get(request.model_name)
        if model is None or (request.model_version and request.model_version not in model.versions):
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.model_name}' is not found"
            )
            return None
        async with self.arrived:
            self.requests.append(request)
            self.traceparents.append(dict(context.invocation_metadata()).get("traceparent", ""))
            self.callers += [name.decode() for name in context.auth_context().get("x509_common_name", ())]
            self.arrived.notify_all()
        try:
            return await model.answer(request)
        except ValueError as exc:  # what a model raises about its input
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))

    async def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.SystemSharedMemoryStatusResponse()

    async def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not self._shared_memory:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "shared memory is not allowed here")
        self.regions.append(request.name)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name in self.regions:
            self.regions.remove(request.name)
        return service_pb2.SystemSharedMemoryUnregisterResponse()
