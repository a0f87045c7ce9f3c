# SPDX-License-Identifier: Apache-2.0
"""gRPC's clients of other languages, as they come: they try again as told to, and send large messages."""

import base64
import io
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from PIL import Image
from testkit.doors import infer_request
from testkit.foreign_clients import MissingError, go_program, node_scripts, output_of
from testkit.gateway import running_gateway
from testkit.grpc_loopback import Context, loopback

LARGE_BYTES = 30_000_000
CODES = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
MAX_ATTEMPTS = 4
Retry = Callable[[str, str], Awaitable[int]]


@pytest.fixture(scope="session")
def scripts() -> Path:
    try:
        return node_scripts()
    except MissingError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def program() -> Path:
    try:
        return go_program()
    except MissingError as exc:
        pytest.skip(str(exc))


def config(code: grpc.StatusCode, service: str = "test", attempts: int = MAX_ATTEMPTS) -> str:
    policy = {
        "maxAttempts": attempts,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.02s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": [code.name],
    }
    return json.dumps({"methodConfig": [{"name": [{"service": service}], "retryPolicy": policy}]})


class Refusing:
    """A method that refuses, and the count of its calls."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code
        self.call_count = 0

    async def refuse(self, _request: bytes, context: Context) -> bytes:
        self.call_count += 1
        await context.abort(self._code, "not now", (("x-receipt", "1"),))


@asynccontextmanager
async def grpcs_own_server(refusing: Refusing) -> AsyncIterator[str]:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Refuse": grpc.unary_unary_rpc_method_handler(refusing.refuse)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def our_server(refusing: Refusing) -> AsyncIterator[str]:
    async with loopback({"Refuse": ("unary_unary", refusing.refuse)}) as served:
        yield served.address


async def attempts(server: Any, retry: Callable[[str], Awaitable[str]], code: grpc.StatusCode) -> int:
    refusing = Refusing(code)
    async with server(refusing) as address:
        assert int(await retry(address)) == code.value[0]
    return refusing.call_count


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
async def test_grpc_js_tries_again_as_often_as_with_grpcs_own_server(scripts: Path, code: grpc.StatusCode) -> None:
    async def retry(address: str) -> str:
        return await output_of("node", scripts / "retry.mjs", address, "/test/Refuse", config(code))

    theirs = await attempts(grpcs_own_server, retry, code)
    assert await attempts(our_server, retry, code) == theirs == MAX_ATTEMPTS


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
async def test_grpc_go_tries_again_as_often_as_with_grpcs_own_server(program: Path, code: grpc.StatusCode) -> None:
    async def retry(address: str) -> str:
        return await output_of(program, address, "/test/Refuse", config(code), environment={"GRPC_GO_RETRY": "on"})

    theirs = await attempts(grpcs_own_server, retry, code)
    assert await attempts(our_server, retry, code) == theirs == MAX_ATTEMPTS


@pytest.mark.parametrize("client", ["grpc-js", "grpc-go"])
async def test_they_come_back_when_the_gateway_says_so_and_not_when_their_policies_do(
    request: pytest.FixtureRequest, client: str
) -> None:
    service, unavailable = "inference.GRPCInferenceService", grpc.StatusCode.UNAVAILABLE
    command: tuple[Any, ...]
    if client == "grpc-js":
        command = ("node", request.getfixturevalue("scripts") / "retry.mjs")
    else:
        command = (request.getfixturevalue("program"),)
    async with running_gateway("127.0.0.1:1", serving=False) as running:
        row = base64.b64encode(infer_request("none", {}).SerializeToString()).decode()
        asked = (running.address, f"/{service}/ModelInfer", config(unavailable, service, attempts=3), row)
        since_s = time.monotonic()
        told = await output_of(*command, *asked, environment={**os.environ, "GRPC_GO_RETRY": "on"})
        took_s = time.monotonic() - since_s
        labels = {"grpc_type": "unary", "grpc_service": service, "grpc_method": "ModelInfer"}
        assert running.metric("grpc_server_handled_total", **labels, grpc_code=unavailable.name) == 3
    assert int(told) == unavailable.value[0]
    assert took_s >= 2.0  # twice a second; by their own policies it would be hundredths


async def take(requests: Any, context: Any) -> bytes:
    """Answer with as many bytes as there are digits in the length of what came."""
    message = await context.read(2 * LARGE_BYTES)
    digits = str(len(message)).encode()
    return b"\n" + bytes([len(digits)]) + digits


@pytest.mark.parametrize("client", ["connect", "grpc-js"])
@pytest.mark.parametrize("count", [1, 4])
async def test_nodes_clients_send_thirty_megabytes_with_their_defaults(scripts: Path, client: str, count: int) -> None:
    async with loopback({"Take": ("stream_unary", take)}) as served:
        arguments = (client, served.address, "test", "Take", str(count))
        told = await output_of("node", scripts / "call.mjs", *arguments, given=bytes(LARGE_BYTES))
    assert json.loads(told) == [len(str(LARGE_BYTES))] * count


def noisy_png(side_px: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


@pytest.mark.triton
@pytest.mark.parametrize("client", ["connect", "grpc-js"])
async def test_nodes_clients_have_a_photo_of_thirty_megabytes_cut_out(
    scripts: Path, triton_server: LocalTriton, client: str
) -> None:
    image = noisy_png(3200)
    assert len(image) > LARGE_BYTES
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        arguments = (client, running.address, "matting.v1.MattingService", "RemoveBackground", "1")
        request = pb.EncodedImage(content=image).SerializeToString()
        told = await output_of("node", scripts / "call.mjs", *arguments, given=request)
    assert json.loads(told)[0] > 0
