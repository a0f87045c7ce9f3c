# SPDX-License-Identifier: Apache-2.0
"""What balancers and gRPC's own retries are told with an answer: the load, and when to come back."""

import asyncio
import base64
import json
from typing import Any

import grpc
import pytest
from grpc_h2.http2.wire import frames
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.rpc.boundary.status import PUSHBACK_KEY
from matting_gateway.rpc.serving.load_report import LOAD_REPORT_KEY
from matting_gateway.rpc.settings import DoorSettings
from matting_triton.local import LocalTriton
from testkit.doors import infer_request
from testkit.gateway import running_gateway
from testkit.load_reports import read_report
from testkit.raw_http2 import RawCaller

NOBODY = "127.0.0.1:1"
PIXELS = pb.PixelImage(data=bytes(64 * 64 * 3), width_px=64, height_px=64, pixel_format=pb.PIXEL_FORMAT_RGB8)
PHOTOS, TENSORS = b"/matting.v1.MattingService/RemoveBackground", b"/inference.GRPCInferenceService/ModelInfer"
REPORT = LOAD_REPORT_KEY.encode()
ECHO = infer_request("echo", {"x": ("UINT8", (1, 3), b"abc")})
RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 2,
                "initialBackoff": "0.001s",
                "maxBackoff": "0.001s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


async def status_of(address: str, path: bytes, message: Any) -> dict[bytes, bytes]:
    """Return the fields of the block that ends a call. gRPC's own library keeps the report from its users."""
    async with RawCaller(address) as caller:
        caller.call(1, path)
        caller.message(1, message.SerializeToString())
        while True:
            _, flags, _, block = await caller.next_of(frames.HEADERS)
            fields = dict(caller.decode(block))
            if flags & frames.END_STREAM:
                return fields


def decoded(value: bytes) -> bytes:
    return base64.b64decode(value + b"=" * (-len(value) % 4))


@pytest.mark.triton
async def test_answers_of_both_doors_carry_a_report_and_so_do_refusals(triton_server: LocalTriton) -> None:
    photo = pb.RemoveBackgroundRequest(pixels=PIXELS)
    none = pb.RemoveBackgroundRequest(pixels=PIXELS, model=pb.ModelRef(name="none"))
    row = infer_request("delay", {"row": ("UINT8", (1, 8), bytes(8))})
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        for path, message, status in (
            (PHOTOS, photo, b"0"),
            (PHOTOS, none, b"5"),
            (TENSORS, row, b"0"),
            (TENSORS, infer_request("none", {}), b"5"),
            (TENSORS, infer_request("delay", {}), b"3"),
        ):
            fields = await status_of(running.address, path, message)
            assert fields[b"grpc-status"] == status
            assert 0 <= read_report(decoded(fields[REPORT])).utilization < 1


async def test_no_report_is_sent_where_the_operator_does_not_want_that() -> None:
    async with running_gateway(NOBODY, serving=False, door=DoorSettings(load_reports=False)) as running:
        fields = await status_of(running.address, TENSORS, ECHO)
    assert fields[b"grpc-status"] == b"14"
    assert REPORT not in fields


async def test_a_refusal_says_in_milliseconds_when_to_come_back_and_an_error_that_is_the_callers_does_not() -> None:
    async with running_gateway(NOBODY, serving=False) as running:
        assert (await status_of(running.address, TENSORS, ECHO))[PUSHBACK_KEY.encode()] == b"1000"
        assert PUSHBACK_KEY.encode() not in await status_of(running.address, PHOTOS, pb.RemoveBackgroundRequest())


async def test_a_stock_client_with_a_retry_policy_comes_back_when_it_is_told_to() -> None:
    options = (("grpc.service_config", json.dumps(RETRY)),)
    async with (
        running_gateway(NOBODY, serving=False) as running,
        grpc.aio.insecure_channel(running.address, options=options) as channel,
    ):
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(TENSORS.decode())(ECHO.SerializeToString(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert loop.time() - since_s >= 1.0  # its own policy would have waited for a millisecond
        method = {"grpc_service": "inference.GRPCInferenceService", "grpc_method": "ModelInfer"}
        labels = {"grpc_type": "unary", "grpc_code": "UNAVAILABLE", **method}
        assert running.metric("grpc_server_handled_total", **labels) == 2
