# SPDX-License-Identifier: Apache-2.0
"""What a Triton does with tensors beside answering: traces them, caches answers, logs them. Read from itself.

Source: Triton's trace and logging extensions, and `response_cache` of `model_config.proto`.
"""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from matting_gateway.domain.model import ModelContract

_TRACE_EXTENSION, _LOGGING_EXTENSION = "trace", "logging"
_LEVEL, _VERBOSITY = "trace_level", "log_verbose_level"
# The one level that writes tensors down; TIMESTAMPS writes when things happened.
_TENSORS = "TENSORS"


@dataclass(frozen=True, slots=True)
class BackendDataHandling:
    """Whether a Triton leaves tensors alone; None where it does not tell.

    Attributes:
        trace_off: No model's tensors go into a trace.
        response_cache_off: No model's answers are kept for later requests.
        tensor_logging_off: The log is not verbose, for a verbose one can hold tensors.
    """

    trace_off: bool | None = None
    response_cache_off: bool | None = None
    tensor_logging_off: bool | None = None


def together(data_handlings: Iterable[BackendDataHandling]) -> BackendDataHandling:
    """Return what holds of several Tritons at once; of none nothing is known."""
    return BackendDataHandling(*map(_all_known, zip(*map(astuple, data_handlings), strict=True)))


async def read_data_handling(
    stub: service_pb2_grpc.GRPCInferenceServiceStub,
    models: Collection[ModelContract],
    extensions: Collection[str],
    *,
    timeout_s: float,
) -> BackendDataHandling:
    """Ask a Triton for its settings. One that refuses to tell is no error."""
    # Without the extension it was built without tracing, and cannot.
    traced = _TRACE_EXTENSION in extensions
    names = ("", *(model.name for model in models))
    levels = await asyncio.gather(*(_untraced(stub, name, timeout_s) for name in names)) if traced else [True]
    return BackendDataHandling(
        trace_off=_all_known(levels),
        response_cache_off=not any(model.response_cache for model in models),
        tensor_logging_off=await _terse(stub, timeout_s) if _LOGGING_EXTENSION in extensions else None,
    )


def _all_known(answers: Iterable[bool | None]) -> bool | None:
    """Return False if any says so, else None if any is unknown."""
    told = set(answers)
    return False if False in told else None if None in told else True


async def _untraced(stub: service_pb2_grpc.GRPCInferenceServiceStub, model: str, timeout_s: float) -> bool | None:
    """Return whether tensors stay out of the trace of a model, or of the server where there is no name."""
    try:
        answer = await stub.TraceSetting(service_pb2.TraceSettingRequest(model_name=model), timeout=timeout_s)
    except grpc.aio.AioRpcError:
        return None
    return _TENSORS not in answer.settings[_LEVEL].value if _LEVEL in answer.settings else None


async def _terse(stub: service_pb2_grpc.GRPCInferenceServiceStub, timeout_s: float) -> bool | None:
    try:
        answer = await stub.LogSettings(service_pb2.LogSettingsRequest(), timeout=timeout_s)
    except grpc.aio.AioRpcError:
        return None
    return answer.settings[_VERBOSITY].uint32_param == 0 if _VERBOSITY in answer.settings else None
