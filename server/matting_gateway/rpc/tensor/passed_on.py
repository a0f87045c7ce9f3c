# SPDX-License-Identifier: Apache-2.0
"""Requests that go to a model's own server as they came, and that server's own words coming back."""

from open_inference.server_messages import InferHeader

from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import (
    BackendUnavailableError,
    GatewayError,
    InternalError,
    ModelNotFoundError,
    OptionUnsupportedError,
    TensorInvalidError,
)
from matting_gateway.triton.transport.failures import ModelFailedError

_BY_CODE: dict[str, type[GatewayError]] = {
    "INVALID_ARGUMENT": TensorInvalidError,
    "NOT_FOUND": ModelNotFoundError,
    "UNIMPLEMENTED": OptionUnsupportedError,
    "UNAVAILABLE": BackendUnavailableError,
}


def backend_error(error: ModelFailedError) -> GatewayError:
    """Return the model's server's own code and text: whoever sends tensors speaks to the model itself."""
    told: BaseException | None = error
    while isinstance(told, ModelFailedError) and not told.backend_code:
        told = told.__cause__
    if not isinstance(told, ModelFailedError):
        return error
    translated = _BY_CODE.get(told.backend_code, InternalError)(told.backend_text)
    translated.__cause__ = error
    return translated


def affinity_of(header: InferHeader, contract: ModelContract) -> str:
    """Return what keeps a sequence on one server; empty where any server will do."""
    return f"{header.model} {header.parameters.get('sequence_id', '')}" if contract.stateful else ""
