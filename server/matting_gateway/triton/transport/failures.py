# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between gateway and Triton, in the gateway's words: the one place of translation."""

import re
from collections.abc import Mapping

import grpc
from grpc_h2.client.status import CallError

from matting_gateway.errors import BackendUnavailableError, DeadlineExpiredError, GatewayError, InternalError

# Texts with which Triton itself says UNAVAILABLE about a model or a full queue, while the server is well.
_MODEL_TEXTS = ("Request for unknown model", "Exceeds maximum queue size", "Request timeout expired")
_UNREACHABLE = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN}
)


# What a channel of gRPC's says of an answer that is none of gRPC's.
_HTTP_STATUS = re.compile(r"Received http2 header with status: (\d{3})$")
# A model in Python whose process died: Triton 2.51 answers so for ever after.
_DEAD_STUB = re.compile(r"Stub process '.*' is not healthy")


class ModelFailedError(InternalError):
    """A backend refused or failed a batch that reached it.

    The public message names no content. `backend_code` and `backend_text` are the backend's own
    words: for callers who speak to the model directly, and for nobody else.
    """

    def __init__(
        self,
        message: str,
        *,
        backend_code: str = "",
        backend_text: str = "",
        field: str | None = None,
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, field=field, retry_after_s=retry_after_s, metadata=metadata)
        self.backend_code = backend_code
        self.backend_text = backend_text


class BackendHungError(BackendUnavailableError):
    """A backend took a batch and did not answer in any time that it should."""


def endpoint_failed(error: grpc.aio.AioRpcError) -> bool:
    """Whether the failure says that the backend as a whole is not to be used."""
    if _not_grpc(error):
        return True
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return True
    return error.code() in _UNREACHABLE and not (error.details() or "").startswith(_MODEL_TEXTS)


def model_failed(error: grpc.aio.AioRpcError) -> bool:
    """Whether the backend took the request and refused or failed it, for the sake of what was in it."""
    return isinstance(translate(error, backend="", model=""), ModelFailedError)


def memory_unknown(error: grpc.aio.AioRpcError) -> bool:
    """Whether the backend has forgotten the shared memory it was told of: it was started anew."""
    return "Unable to find shared memory region" in (error.details() or "")


def translate(error: grpc.aio.AioRpcError, *, backend: str, model: str) -> GatewayError:
    """Return the gateway's error for a failed call about `model` to `backend`."""
    code, text = error.code(), error.details() or ""
    if seen := _not_grpc(error):
        return BackendUnavailableError(f"Backend {backend} cannot be reached: {seen}; try again.")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return BackendHungError(f"Backend {backend} did not answer in time; try again.")
    if code is grpc.StatusCode.NOT_FOUND or text.startswith(_MODEL_TEXTS) or _DEAD_STUB.search(text):
        return BackendUnavailableError(f"Backend {backend} does not serve model {model} now; try again.")
    if code in _UNREACHABLE:
        return BackendUnavailableError(f"Backend {backend} went away; try again.")
    return ModelFailedError(f"Model {model} failed on this request.", backend_code=code.name, backend_text=text)


def translate_forwarded(error: grpc.aio.AioRpcError, *, backend: str) -> GatewayError:
    """Return the gateway's error for a failed call that was passed on as it came."""
    code, text = error.code(), error.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExpiredError("The model did not answer within the call's deadline; allow more time.")
    if seen := _not_grpc(error):
        return BackendUnavailableError(f"Backend {backend} cannot be reached: {seen}; try again.")
    if endpoint_failed(error):
        return BackendUnavailableError(f"Backend {backend} went away; try again.")
    return ModelFailedError("The backend refused the call.", backend_code=code.name, backend_text=text)


def describe(error: Exception) -> str:
    """Return one line on why a backend is not used, without any words of its own: they could quote what it was sent."""
    if isinstance(error, grpc.aio.AioRpcError):
        return _not_grpc(error) or f"calls fail with {error.code().name}"
    return str(error)


def _not_grpc(error: grpc.aio.AioRpcError) -> str:
    """Return what was met where no gRPC server was, in words that hold nothing of a call; "" where one was."""
    if isinstance(error, CallError):
        return (error.details() or "") if error.unreachable else ""
    status = _HTTP_STATUS.match(error.details() or "")
    return f"the answer is HTTP status {status[1]} instead of gRPC" if status else ""
