# SPDX-License-Identifier: Apache-2.0
"""Photos with deadlines: what cannot be done in time is told so at once, and costs those nothing who are let in."""

import asyncio
import io
import time
from collections import Counter

import grpc
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from PIL import Image
from testkit.gateway import RunningGateway, running_gateway
from testkit.photos import sample_photo

# What a photo takes is learned: nothing else may take the cores away between learning and being held to it.
pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.alone]

CALL_COUNT, FITTING = 60, 12


async def outcome(running: RunningGateway, request: pb.RemoveBackgroundRequest, timeout_s: float) -> tuple[str, float]:
    """Return how a call ended, and after which share of its deadline."""
    started_s = time.perf_counter()
    try:
        await running.stub.RemoveBackground(request, timeout=timeout_s)
        name = "OK"
    except grpc.aio.AioRpcError as error:
        name = error.code().name
    return name, (time.perf_counter() - started_s) / timeout_s


async def test_of_more_photos_than_can_be_done_those_let_in_are_answered_and_then_everybody_again(
    triton_server: LocalTriton,
) -> None:
    file = io.BytesIO()
    Image.fromarray(sample_photo(2000, 1500)).save(file, "JPEG", quality=90)
    request = pb.RemoveBackgroundRequest(
        encoded=pb.EncodedImage(content=file.getvalue()), outputs=[pb.OutputSpec(kind=pb.OUTPUT_KIND_CUTOUT)]
    )
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        # What a photo takes where all workers are busy, which the gateway learns meanwhile.
        async with asyncio.TaskGroup() as group:
            learned = [group.create_task(outcome(running, request, 60.0)) for _ in range(FITTING)]
        deadline_s = 60.0 * max(task.result()[1] for task in learned)
        for _ in range(2):
            ended = await asyncio.gather(*(outcome(running, request, deadline_s) for _ in range(CALL_COUNT)))
            count = Counter(name for name, _ in ended)
            assert count.keys() <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
            assert count["OK"] >= FITTING // 3
            assert count["RESOURCE_EXHAUSTED"] >= CALL_COUNT // 2
            # Some may, where the machine is taken away; without any judgement nearly all would.
            assert count["DEADLINE_EXCEEDED"] <= count["OK"]
            assert await outcome(running, request, deadline_s) == ("OK", pytest.approx(0.5, abs=0.5))
        assert running.metric("matting_dropped_total", reason="workers") >= CALL_COUNT
