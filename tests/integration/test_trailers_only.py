# SPDX-License-Identifier: Apache-2.0
"""Whatever refuses a call, the gateway says so in one block with all that belongs to it, and sends nothing before."""

from typing import Any

import pytest
from grpc_h2.http2.wire import frames
from grpc_health.v1 import health_pb2
from matting.v1 import matting_service_pb2 as pb
from testkit.doors import infer_request
from testkit.gateway import running_gateway
from testkit.raw_http2 import RawCaller

NOBODY = "127.0.0.1:1"
PIXELS = pb.PixelImage(data=bytes(64 * 64 * 3), width_px=64, height_px=64, pixel_format=pb.PIXEL_FORMAT_RGB8)
PHOTO = pb.RemoveBackgroundRequest(pixels=PIXELS, model=pb.ModelRef(name="none"))
TENSORS = infer_request("none", {"INPUT": ("UINT8", (1, 1), b"x")})
PHOTOS, TENSOR_DOOR = b"/matting.v1.MattingService/", b"/inference.GRPCInferenceService/"

REFUSED: dict[str, tuple[bytes, Any]] = {
    "a photo": (PHOTOS + b"RemoveBackground", PHOTO),
    "no photo": (PHOTOS + b"RemoveBackground", pb.RemoveBackgroundRequest()),
    "tensors": (TENSOR_DOOR + b"ModelInfer", TENSORS),
    "a model that is not there": (TENSOR_DOOR + b"ModelMetadata", TENSORS),
}


async def only_block(address: str, path: bytes, message: Any, *metadata: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the one block that a call is answered with."""
    async with RawCaller(address) as caller:
        caller.call(1, path, (b"x-request-id", b"abc-123"), *metadata)
        caller.message(1, message.SerializeToString())
        _, flags, _, block = await caller.next_of(frames.HEADERS)
        assert flags == frames.END_HEADERS | frames.END_STREAM
        fields = caller.decode(block)
    assert len({name for name, _ in fields}) == len(fields)
    return dict(fields)


@pytest.mark.parametrize(("path", "message"), REFUSED.values(), ids=REFUSED)
async def test_a_call_that_fails_is_answered_by_one_block(path: bytes, message: Any) -> None:
    async with running_gateway(NOBODY, serving=False) as running:
        fields = await only_block(running.address, path, message)
    assert (fields[b":status"], fields[b"content-type"]) == (b"200", b"application/grpc")
    assert fields[b"x-request-id"] == b"abc-123"
    assert fields[b"grpc-status"] != b"0"
    assert fields[b"grpc-message"]
    assert b"matting-receipt-bin" in fields
    assert b"grpc-status-details-bin" in fields


async def test_a_call_without_time_is_answered_so_at_once() -> None:
    async with running_gateway(NOBODY, serving=False) as running:
        check = health_pb2.HealthCheckRequest()
        fields = await only_block(running.address, b"/grpc.health.v1.Health/Check", check, (b"grpc-timeout", b"0n"))
    assert fields[b"grpc-status"] == b"4"
