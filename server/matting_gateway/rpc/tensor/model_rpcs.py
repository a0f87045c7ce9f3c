# SPDX-License-Identifier: Apache-2.0
"""The protocol's questions about the server and its models. What only a Triton knows, a Triton is asked."""

from importlib.metadata import version
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from matting_gateway.admission.tenants import Tenants
from matting_gateway.errors import GatewayError, ModelNotFoundError, TensorInvalidError
from matting_gateway.rpc.boundary.call_info import current_call
from matting_gateway.rpc.tensor.model_statistics import ModelStatistics
from matting_gateway.rpc.tensor.passed_on import backend_error
from matting_gateway.rpc.tensor.tensor_plan import unknown_model
from matting_gateway.triton.pool.pool import Pool
from matting_gateway.triton.transport.failures import ModelFailedError

SERVER_NAME = "matting-gateway"
_EXTENSIONS = (
    "classification",
    "sequence",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
)


class ModelRpcs:
    """Handlers of the questions. A tenant is told of the models it may use, and of no others."""

    def __init__(self, *, pool: Pool, tenants: Tenants, statistics: ModelStatistics, timeout_s: float) -> None:
        self._pool = pool
        self._tenants = tenants
        self._statistics = statistics
        self._timeout_s = timeout_s

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """Return the handlers, by name of the RPC."""
        return {
            "ServerLive": _unary(self.server_live, pb.ServerLiveRequest),
            "ServerReady": _unary(self.server_ready, pb.ServerReadyRequest),
            "ModelReady": _unary(self.model_ready, pb.ModelReadyRequest),
            "ServerMetadata": _unary(self.server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": _unary(self.model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": _unary(self.model_config, pb.ModelConfigRequest),
            "ModelStatistics": _unary(self.model_statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": _unary(self.repository_index, pb.RepositoryIndexRequest),
        }

    async def server_live(self, _request: pb.ServerLiveRequest, _context: object) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _request: pb.ServerReadyRequest, _context: object) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=bool(self._pool.models()))

    async def model_ready(self, request: pb.ModelReadyRequest, _context: object) -> pb.ModelReadyResponse:
        self._tenants.check_model(current_call().tenant, request.name)
        try:
            self._pool.model(request.name, request.version)
        except GatewayError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._pool.can_serve(request.name))

    async def server_metadata(self, _request: pb.ServerMetadataRequest, _context: object) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=version("matting-gateway"), extensions=_EXTENSIONS)

    async def model_metadata(self, request: pb.ModelMetadataRequest, _context: object) -> pb.ModelMetadataResponse:
        answer = pb.ModelMetadataResponse.FromString(await self._ask("ModelMetadata", request))
        if not request.version:
            del answer.versions[:]
            answer.versions.extend(reversed(self._pool.model(request.name).versions))
        return answer

    async def model_config(self, request: pb.ModelConfigRequest, _context: object) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse.FromString(await self._ask("ModelConfig", request))

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, _context: object
    ) -> pb.ModelStatisticsResponse:
        """Answer for one model, or for all that the tenant may use."""
        tenant = current_call().tenant
        if request.name:
            self._tenants.check_model(tenant, request.name)
            try:
                models = [self._pool.model(request.name, request.version)]
            except ModelNotFoundError as exc:
                raise TensorInvalidError(f"requested model '{request.name}' is not available") from exc
        else:
            models = [model for model in self._pool.models() if tenant.may_use(model.name)]
        return pb.ModelStatisticsResponse(
            model_stats=[
                self._statistics.of(model.name, ready)
                for model in models
                for ready in reversed(model.versions)
                if request.version in ("", ready)
            ]
        )

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, _context: object
    ) -> pb.RepositoryIndexResponse:
        """Answer with every model of every backend; one that is ready anywhere is ready."""
        call = current_call()
        answers = await self._pool.passthrough.forward_to_all(
            "RepositoryIndex",
            request.SerializeToString(),
            timeout_s=self._timeout_s,
            traceparent=call.traceparent,
        )
        found: dict[tuple[str, str], pb.RepositoryIndexResponse.ModelIndex] = {}
        for answer in answers:
            for model in pb.RepositoryIndexResponse.FromString(answer).models:
                known = found.get((model.name, model.version))
                if call.tenant.may_use(model.name) and (known is None or known.state != "READY"):
                    found[model.name, model.version] = model
        return pb.RepositoryIndexResponse(models=[found[key] for key in sorted(found)])

    async def _ask(self, method: str, request: pb.ModelMetadataRequest | pb.ModelConfigRequest) -> bytes:
        """Pass a question about a model on to a Triton that has it."""
        call = current_call()
        self._tenants.check_model(call.tenant, request.name)
        try:
            return await self._pool.passthrough.forward(
                method,
                request.SerializeToString(),
                model=request.name,
                timeout_s=self._timeout_s,
                traceparent=call.traceparent,
            )
        except ModelFailedError as exc:
            raise backend_error(exc) from exc
        except ModelNotFoundError as exc:
            raise unknown_model(exc, request.name, request.version, known=False) from exc


def _unary(behaviour: Any, request: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, lambda answer: answer.SerializeToString())
