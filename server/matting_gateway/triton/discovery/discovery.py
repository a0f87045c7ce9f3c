# SPDX-License-Identifier: Apache-2.0
"""Asking one Triton whether it lives and what it serves."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from matting_gateway.domain.model import ModelContract
from matting_gateway.triton.discovery.backend_data_handling import BackendDataHandling, read_data_handling
from matting_gateway.triton.discovery.contract import as_described, read_contract
from matting_gateway.triton.discovery.control import DESCRIBE, Described, control_request, read_description
from matting_gateway.triton.settings import PoolSettings

_READY = "READY"
# What Triton says of why a model did not load can hold the stack of a model in Python, from here on.
_STACK = "\n\nAt:\n"
# Ours goes by the name of the native one, so that one configuration serves both.
_DESCRIBING_BACKEND = "onnxruntime"


class NotATritonError(Exception):
    """Something answers at the address, but not as a Triton does."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a Triton said: its version, protocol extensions, each model that is ready, what it does with tensors.

    `unready` has the models that it has and does not serve, with their state or the reason; asked for only where the
    wanted model is not ready.
    """

    server_version: str
    extensions: frozenset[str]
    models: Mapping[str, ModelContract]
    data_handling: BackendDataHandling
    unready: Mapping[str, str] = field(default_factory=dict)


class Discoverer:
    """Asks one Triton. Owns nothing but the stub: what was learned is passed back in."""

    def __init__(self, channel: grpc.aio.Channel, backend: str, settings: PoolSettings) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._backend = backend
        self._timeout_s = settings.probe_timeout_s
        self._wanted_model = settings.wanted_model

    async def look(self, known: Discovery | None, *, afresh: bool = False) -> Discovery:
        """Return what is served now; configurations of unchanged `known` versions are asked for again only if `afresh`.

        Raises:
            grpc.aio.AioRpcError: It does not answer, or not well.
            NotATritonError: It answers that it is something else, or not live.
        """
        try:
            live = await self._stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=self._timeout_s)
            if not live.live:
                raise NotATritonError("the server says that it is not live")
            version, extensions = (
                (known.server_version, known.extensions) if known is not None and not afresh else await self._server()
            )
            ready = await self._ready_versions()
            unready = {} if not self._wanted_model or self._wanted_model in ready else await self._unready_states()
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise NotATritonError("the server does not speak the Open Inference Protocol") from exc
            raise
        old = known.models if known is not None else {}
        models: dict[str, ModelContract] = {}
        for name, versions in ready.items():
            contract = old.get(name)
            if afresh or contract is None or set(contract.versions) != versions:
                contract = await self._contract(name, versions, contract)
            if contract is not None:
                models[name] = contract
        if known is not None and not afresh and known.models == models:
            data_handling = known.data_handling
        else:
            data_handling = await read_data_handling(self._stub, models.values(), extensions, timeout_s=self._timeout_s)
        return Discovery(version, extensions, models, data_handling, unready)

    async def _server(self) -> tuple[str, frozenset[str]]:
        metadata = await self._stub.ServerMetadata(service_pb2.ServerMetadataRequest(), timeout=self._timeout_s)
        return metadata.version, frozenset(metadata.extensions)

    async def _ready_versions(self) -> dict[str, set[str]]:
        index = await self._stub.RepositoryIndex(
            service_pb2.RepositoryIndexRequest(ready=True), timeout=self._timeout_s
        )
        ready: dict[str, set[str]] = {}
        for model in index.models:
            if model.state == _READY:
                ready.setdefault(model.name, set()).add(model.version)
        return ready

    async def _unready_states(self) -> dict[str, str]:
        """Return the models that are there and not ready: LOADING, UNLOADING, or why they are not loaded."""
        index = await self._stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=self._timeout_s)
        states: dict[str, str] = {}
        for model in index.models:
            if model.state == _READY:
                continue
            moving = model.state in {"LOADING", "UNLOADING"}
            reason = " ".join(model.reason.partition(_STACK)[0].split())
            states[model.name] = model.state if moving else reason or model.state.lower() or "never loaded"
        return states

    async def _contract(self, name: str, versions: set[str], known: ModelContract | None) -> ModelContract | None:
        """Read a model's configuration; None where it was unloaded since the index was read."""
        try:
            answer = await self._stub.ModelConfig(service_pb2.ModelConfigRequest(name=name), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        contract = read_contract(self._backend, versions, answer.config)
        if answer.config.backend != _DESCRIBING_BACKEND or contract.matting is None:
            return contract
        described = await self._describe(contract)
        if described is not None:
            return as_described(contract, described)
        # Too busy to tell: what it told before holds for the same configuration.
        same = known is not None and replace(known, instances=contract.instances) == contract
        return known if same else contract

    async def _describe(self, contract: ModelContract) -> Described | None:
        """Ask what really serves the model; None where it does not tell."""
        request = control_request(contract, DESCRIBE, row_count=1)
        try:
            return read_description(await self._stub.ModelInfer(request, timeout=self._timeout_s))
        except grpc.aio.AioRpcError:
            return None
