# SPDX-License-Identifier: Apache-2.0
"""The only Triton is killed while calls wait for it: all of them hear so at once, through both doors."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.triton.settings import PoolSettings
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.doors import infer_request
from testkit.gateway import running_gateway
from testkit.local_triton import QUICK_START, copy_models
from tritonclient.grpc import service_pb2_grpc

pytestmark = pytest.mark.triton

PIXELS = bytes(16 * 16 * 3)
SELDOM_LOOKED_AT = PoolSettings(refresh_interval_s=600.0)


async def code_of(call: Awaitable[object]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def test_calls_that_wait_for_the_only_triton_hear_at_once_that_it_is_gone(
    triton_runtime: Runtime, tmp_path: Path
) -> None:
    """By the loss of the connection: the next look at whether it is there would come long after their deadlines."""
    source = pb.PixelImage(data=PIXELS, width_px=16, height_px=16, pixel_format=pb.PIXEL_FORMAT_RGB8)
    photo = pb.RemoveBackgroundRequest(pixels=source)
    tensor = infer_request("slow_matting", {"image": ("UINT8", (1, 16, 16, 3), PIXELS)})
    copy_models(["slow_matting"], tmp_path)
    with LocalTriton(triton_runtime, tmp_path, grace_s=0, extra_arguments=QUICK_START) as triton:
        async with running_gateway(triton.grpc_address, default_model="slow_matting", pool=SELDOM_LOOKED_AT) as running:
            tensors = service_pb2_grpc.GRPCInferenceServiceStub(running.channel)
            calls = [running.stub.RemoveBackground(photo, timeout=60) for _ in range(9)]
            calls += [tensors.ModelInfer(tensor, timeout=60) for _ in range(9)]
            told = [asyncio.create_task(code_of(call)) for call in calls]
            while running.gateway.scheduler.statistics().waiting_count < 16:  # noqa: ASYNC110 - gives way until they wait
                await asyncio.sleep(0)
            triton.kill()
            codes = await asyncio.gather(*told)
            assert codes.count("UNAVAILABLE") >= 16
            assert set(codes) <= {"UNAVAILABLE", "OK"}
            assert running.gateway.scheduler.statistics().waiting_count == 0
            assert running.metric("matting_dropped_total", reason="unavailable") >= 14
