# SPDX-License-Identifier: Apache-2.0
"""The conformance table: the same request to Triton and to the gateway, answers and errors compared."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from matting_triton.local import LocalTriton
from testkit.doors import Told, ask, infer_request, set_parameter
from testkit.gateway import running_gateway
from tritonclient.grpc import service_pb2 as pb

pytestmark = pytest.mark.triton

ROW = ("UINT8", (1, 8), bytes(range(8)))
FLOATS = np.arange(4, dtype="<f4").tobytes()
PAIR = {"left": ("FP32", (1, 4), FLOATS), "right": ("FP32", (1, 4), FLOATS)}
STRINGS = b"\x02\0\0\0ab\0\0\0\0"
IMAGE = bytes(320 * 320 * 3)


@dataclass(frozen=True)
class Doors:
    """Channels to both."""

    triton: grpc.aio.Channel
    gateway: grpc.aio.Channel


@pytest_asyncio.fixture
async def doors(triton_server: LocalTriton) -> AsyncIterator[Doors]:
    options = (("grpc.max_receive_message_length", -1),)
    async with (
        running_gateway(triton_server.grpc_address, default_model="nothing") as gateway,
        grpc.aio.insecure_channel(triton_server.grpc_address, options=options) as triton,
    ):
        yield Doors(triton, gateway.channel)


def typed(
    model: str, name: str, datatype: str, shape: tuple[int, ...], kind: str, values: list[Any]
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    getattr(tensor.contents, kind).extend(values)
    return request


def changed(request: pb.ModelInferRequest, change: Callable[[pb.ModelInferRequest], Any]) -> pb.ModelInferRequest:
    change(request)
    return request


def twice(request: pb.ModelInferRequest) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def delay(**changes: Any) -> pb.ModelInferRequest:
    return infer_request("delay", {"row": ROW}, **changes)


def with_parameter(key: str, value: Any) -> pb.ModelInferRequest:
    return changed(delay(), lambda request: set_parameter(request.parameters[key], value))


SAME: dict[str, tuple[str, Any]] = {
    "live": ("ServerLive", pb.ServerLiveRequest()),
    "ready": ("ServerReady", pb.ServerReadyRequest()),
    "model ready": ("ModelReady", pb.ModelReadyRequest(name="two")),
    "model ready, version": ("ModelReady", pb.ModelReadyRequest(name="two", version="1")),
    "model ready, unknown": ("ModelReady", pb.ModelReadyRequest(name="nope")),
    "model ready, unknown version": ("ModelReady", pb.ModelReadyRequest(name="two", version="9")),
    "metadata": ("ModelMetadata", pb.ModelMetadataRequest(name="two")),
    "metadata, strings": ("ModelMetadata", pb.ModelMetadataRequest(name="strings", version="1")),
    "metadata, unknown": ("ModelMetadata", pb.ModelMetadataRequest(name="nope")),
    "config": ("ModelConfig", pb.ModelConfigRequest(name="nothing")),
    "config, unknown": ("ModelConfig", pb.ModelConfigRequest(name="nope")),
    "config, unknown version": ("ModelConfig", pb.ModelConfigRequest(name="two", version="7")),
    "index": ("RepositoryIndex", pb.RepositoryIndexRequest()),
    "index, ready": ("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)),
    "statistics, unknown": ("ModelStatistics", pb.ModelStatisticsRequest(name="nope")),
    "shared memory unregister": ("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest()),
    "cuda status": ("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest()),
    "cuda unregister": ("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest()),
    "infer": ("ModelInfer", delay()),
    "infer, id and version": ("ModelInfer", delay(request_id="me", version="1")),
    "infer, several items": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (3, 8), bytes(24))})),
    "infer, two inputs": ("ModelInfer", infer_request("two", PAIR)),
    "infer, inputs in another order": ("ModelInfer", infer_request("two", dict(reversed(PAIR.items())))),
    "infer, one output": ("ModelInfer", infer_request("two", PAIR, outputs=("difference",))),
    "infer, outputs asked in reverse": ("ModelInfer", infer_request("two", PAIR, outputs=("difference", "sum"))),
    "infer, output asked twice": ("ModelInfer", delay(outputs=("inverted", "inverted"))),
    "infer, strings": ("ModelInfer", infer_request("strings", {"text": ("BYTES", (1, 2), STRINGS)})),
    "infer, half": ("ModelInfer", infer_request("half", {"values": ("FP16", (1, 2), b"\0\x3c\0\xbc")})),
    "infer, no batch dimension": ("ModelInfer", infer_request("single", {"values": ("INT32", (2,), bytes(8))})),
    "infer, no elements": ("ModelInfer", infer_request("single", {"values": ("INT32", (0,), b"")})),
    "infer, image": ("ModelInfer", infer_request("nothing", {"image": ("UINT8", (1, 320, 320, 3), IMAGE)})),
    "typed": ("ModelInfer", typed("delay", "row", "UINT8", (1, 8), "uint_contents", [*range(7), 300])),
    "typed, signed": ("ModelInfer", typed("single", "values", "INT32", (2,), "int_contents", [-1, 5])),
    "typed, strings": ("ModelInfer", typed("strings", "text", "BYTES", (1, 2), "bytes_contents", [b"a", b""])),
    "typed, too few": ("ModelInfer", typed("delay", "row", "UINT8", (1, 8), "uint_contents", [1])),
    "typed, wrong kind": ("ModelInfer", typed("delay", "row", "UINT8", (1, 8), "int_contents", [1] * 8)),
    "typed and raw": (
        "ModelInfer",
        changed(
            typed("delay", "row", "UINT8", (1, 8), "uint_contents", [1] * 8),
            lambda r: r.raw_input_contents.append(bytes(8)),
        ),
    ),
    "timeout": ("ModelInfer", with_parameter("timeout", 5_000_000)),
    "timeout of zero": ("ModelInfer", with_parameter("timeout", 0)),
    "timeout, no number": ("ModelInfer", with_parameter("timeout", "soon")),
    "priority": ("ModelInfer", with_parameter("priority", 1)),
    "priority, no number": ("ModelInfer", with_parameter("priority", "high")),
    "a parameter of one's own": ("ModelInfer", with_parameter("mine", "x")),
    "a reserved parameter": ("ModelInfer", with_parameter("triton_mine", "x")),
    "sequence id to a stateless model": ("ModelInfer", with_parameter("sequence_id", 7)),
    "unknown model": ("ModelInfer", infer_request("nope", {"row": ROW})),
    "unknown version": ("ModelInfer", delay(version="9")),
    "content missing": ("ModelInfer", changed(delay(), lambda r: r.ClearField("raw_input_contents"))),
    "no inputs": ("ModelInfer", pb.ModelInferRequest(model_name="delay")),
    "an input missing": ("ModelInfer", infer_request("two", {"left": PAIR["left"]})),
    "an input twice": ("ModelInfer", changed(delay(), twice)),
    "unknown input": ("ModelInfer", infer_request("delay", {"foo": ROW})),
    "unknown output": ("ModelInfer", delay(outputs=("nope",))),
    "one byte short": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (1, 8), bytes(7))})),
    "one byte long": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (1, 8), bytes(9))})),
    "wrong datatype": ("ModelInfer", infer_request("delay", {"row": ("FP32", (1, 8), bytes(32))})),
    "no datatype": ("ModelInfer", infer_request("delay", {"row": ("XX", (1, 8), bytes(8))})),
    "batch too large": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (9, 8), bytes(72))})),
    "batches differ": ("ModelInfer", infer_request("two", {**PAIR, "right": ("FP32", (2, 4), FLOATS * 2)})),
    "unary call to the stream's end": ("ModelInfer", delay(outputs=("inverted",))),
}

# Same code, other words: why.
OTHER_WORDS: dict[str, tuple[str, Any]] = {
    # Triton's text quotes its C++ library.
    "version that is no number": ("ModelInfer", delay(version="abc")),
    # The gateway also says what is wrong with sizes below one; Triton goes on to compare lengths.
    "wrong rank": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (8,), bytes(8))})),
    "wrong size": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (1, 9), bytes(9))})),
    "negative size": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (-1, 8), bytes(8))})),
    "empty batch": ("ModelInfer", infer_request("delay", {"row": ("UINT8", (0, 8), b"")})),
    # One text for every way in which elements do not fill the content.
    "string cut off": ("ModelInfer", infer_request("strings", {"text": ("BYTES", (1, 2), STRINGS[:-1])})),
    "string missing": ("ModelInfer", infer_request("strings", {"text": ("BYTES", (1, 2), STRINGS[:6])})),
    "string too many": ("ModelInfer", infer_request("strings", {"text": ("BYTES", (1, 1), STRINGS)})),
    # The gateway names the one that is unknown.
    "an input too many": ("ModelInfer", infer_request("delay", {"row": ROW, "foo": ROW})),
}

# Different on purpose: what the gateway says instead, and why.
DIFFERENT: dict[str, tuple[str, Any, str]] = {
    # Bytes that nobody asked for are a mistake of the caller; Triton ignores them.
    "a raw content too many": (
        "ModelInfer",
        changed(delay(), lambda r: r.raw_input_contents.append(b"")),
        "INVALID_ARGUMENT",
    ),
    # A time limit in the past cannot be meant; Triton takes it for none.
    "negative timeout": ("ModelInfer", with_parameter("timeout", -5), "INVALID_ARGUMENT"),
    "absurd timeout": ("ModelInfer", with_parameter("timeout", 2**62), "INVALID_ARGUMENT"),
    # The queue is the gateway's, and it says beforehand what cannot be met.
    "timeout too short": ("ModelInfer", with_parameter("timeout", 1), "DEADLINE_EXCEEDED"),
    # Callers' shared memory is off unless the operator allows it.
    "register": (
        "SystemSharedMemoryRegister",
        pb.SystemSharedMemoryRegisterRequest(name="r", key="/nope", byte_size=8),
        "PERMISSION_DENIED",
    ),
    "cuda register": (
        "CudaSharedMemoryRegister",
        pb.CudaSharedMemoryRegisterRequest(name="r", byte_size=8),
        "UNIMPLEMENTED",
    ),
    # Models, traces and logs are the operator's.
    "load": ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="two"), "PERMISSION_DENIED"),
    "unload": ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="nope"), "PERMISSION_DENIED"),
    "trace": ("TraceSetting", pb.TraceSettingRequest(), "PERMISSION_DENIED"),
    "log": ("LogSettings", pb.LogSettingsRequest(), "PERMISSION_DENIED"),
}


def contents(told: Told) -> Any:
    """Return what must be equal of a message: for answers with tensors, by name, whatever their order."""
    message = told.message
    if not isinstance(message, pb.ModelInferResponse):
        return message
    tensors = {
        output.name: (output.datatype, tuple(output.shape), raw)
        for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    }
    return message.model_name, message.model_version, message.id, tensors


async def test_what_triton_answers_the_gateway_answers(doors: Doors) -> None:
    different = []
    for name, (method, request) in SAME.items():
        triton, gateway = await ask(doors.triton, method, request), await ask(doors.gateway, method, request)
        if (triton.code, triton.text, contents(triton)) != (gateway.code, gateway.text, contents(gateway)):
            different.append(f"{name}: Triton {triton}, gateway {gateway}")
    assert different == []


async def test_where_words_differ_the_code_is_the_same(doors: Doors) -> None:
    for name, (method, request) in OTHER_WORDS.items():
        triton, gateway = await ask(doors.triton, method, request), await ask(doors.gateway, method, request)
        assert (triton.code, gateway.code) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT"), name
        assert gateway.text, name


async def test_where_it_differs_it_does_so_on_purpose(doors: Doors) -> None:
    await ask(doors.gateway, "ModelInfer", delay())  # so that the model's latency is known
    for name, (method, request, code) in DIFFERENT.items():
        gateway = await ask(doors.gateway, method, request)
        assert gateway.code == code, (name, gateway)
        assert gateway.text, name


async def test_the_gateway_names_itself_and_the_extensions_it_serves(doors: Doors) -> None:
    told = await ask(doors.gateway, "ServerMetadata", pb.ServerMetadataRequest())
    triton = await ask(doors.triton, "ServerMetadata", pb.ServerMetadataRequest())
    assert told.message.name == "matting-gateway"
    assert "statistics" in told.message.extensions
    assert set(told.message.extensions) <= set(triton.message.extensions)
