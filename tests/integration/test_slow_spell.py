# SPDX-License-Identifier: Apache-2.0
"""A model is slow for a while: who is in a hurry is refused meanwhile, and served again as soon as it is quick."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.doors import infer_request
from testkit.local_triton import QUICK_START
from testkit.paced import PacedModel
from testkit.program import Service, running_service
from tritonclient.grpc import service_pb2_grpc

pytestmark = [pytest.mark.triton, pytest.mark.alone]

QUICK_S, SLOW_S = 0.1, 0.6
ALLOWED_S = 0.5
PIXELS = bytes(16 * 16 * 3)
Call = Callable[[float], Awaitable[object]]


def by_photo(service: Service) -> Call:
    source = pb.PixelImage(data=PIXELS, width_px=16, height_px=16, pixel_format=pb.PIXEL_FORMAT_RGB8)
    request = pb.RemoveBackgroundRequest(pixels=source, model=pb.ModelRef(name="by_photo"))
    return lambda allowed_s: service.stub.RemoveBackground(request, timeout=allowed_s)


def by_tensor(service: Service) -> Call:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(service.channel)
    request = infer_request("by_tensor", {"image": ("UINT8", (1, 16, 16, 3), PIXELS)})
    return lambda allowed_s: stub.ModelInfer(request, timeout=allowed_s)


async def offered(call: Call, count: int) -> list[str]:
    """Make calls five times a second, whatever becomes of them, and return what each was told."""

    async def one() -> str:
        try:
            await call(ALLOWED_S)
        except grpc.aio.AioRpcError as error:
            return reason_of(error)
        return "OK"

    calls: list[asyncio.Task[str]] = []
    for _ in range(count):
        calls.append(asyncio.create_task(one()))
        await asyncio.sleep(0.2)  # the pace of the load
    return [await told for told in calls]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = error_details_pb2.ErrorInfo()
            status_pb2.Status.FromString(value).details[0].Unpack(info)
            return str(info.reason)
    return error.code().name


async def test_callers_in_a_hurry_are_served_again_after_a_slow_spell(triton_runtime: Runtime, tmp_path: Path) -> None:
    """Through both doors at once, each with a model of its own, so that neither teaches the other."""
    models = [PacedModel(tmp_path, "by_photo"), PacedModel(tmp_path, "by_tensor")]
    with LocalTriton(triton_runtime, tmp_path, grace_s=0, extra_arguments=QUICK_START) as triton:
        async with running_service("--triton", triton.grpc_address, "--default-model", "by_photo") as service:
            calls = (by_photo(service), by_tensor(service))
            for _ in range(5):  # until it is known what they take
                await asyncio.gather(*(call(30.0) for call in calls))
            for model in models:
                model.set_latency(SLOW_S)
            slow = await asyncio.gather(*(offered(call, 25) for call in calls))
            for model in models:
                model.set_latency(QUICK_S)
            await asyncio.gather(*(offered(call, 15) for call in calls))
            after = await asyncio.gather(*(offered(call, 20) for call in calls))
    for told in slow:
        assert "OK" not in told
        assert "DEADLINE_UNREACHABLE" in told
    for told in after:
        assert told.count("OK") >= 19, told
