# SPDX-License-Identifier: Apache-2.0
"""A gateway's tensor door and the Triton behind it, asked the same things."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

# Decoupled, stateful and refusing models, beside those of testkit/models.
DOOR_MODELS = Path(__file__).parent / "door_models"


@dataclass(frozen=True)
class Told:
    """What a server said: a message, or a code and a text."""

    code: str
    text: str = ""
    message: Any = None


async def ask(channel: grpc.aio.Channel, method: str, request: Any) -> Told:
    """Call one unary RPC of the service."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    try:
        return Told("OK", message=await getattr(stub, method)(request, timeout=30))
    except grpc.aio.AioRpcError as exc:
        return Told(exc.code().name, exc.details() or "")


def infer_request(
    model: str,
    inputs: Mapping[str, tuple[str, tuple[int, ...], bytes]],
    *,
    outputs: tuple[str, ...] = (),
    version: str = "",
    parameters: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> service_pb2.ModelInferRequest:
    """Return a request; `inputs` are name -> (datatype, shape, raw content)."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    for name, (datatype, shape, raw) in inputs.items():
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    for name in outputs:
        request.outputs.add(name=name)
    for key, value in (parameters or {}).items():
        set_parameter(request.parameters[key], value)
    return request


def set_parameter(parameter: Any, value: Any) -> None:
    """Set a parameter by the type of its value."""
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    setattr(parameter, kinds[type(value)], value)
