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


def cutout_of(content: bytes) -> pb.RemoveBackgroundRequest:
    return pb.RemoveBackgroundRequest(
        encoded=pb.EncodedImage(content=content), outputs=[pb.OutputSpec(kind=pb.OUTPUT_KIND_CUTOUT)]
    )


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(sample_photo(2000, 1500)).save(file, "JPEG", quality=90)
    return file.getvalue()


async def test_of_more_photos_than_can_be_done_those_let_in_are_answered_and_then_everybody_again(
    triton_server: LocalTriton,
) -> None:
    request = cutout_of(jpeg())
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
            name, share = await outcome(running, request, deadline_s)
            assert name == "OK"
            assert share <= 1
        assert running.metric("matting_dropped_total", reason="workers") >= CALL_COUNT


async def test_callers_who_leave_and_files_that_break_halfway_take_no_time_from_those_who_come_after(
    triton_server: LocalTriton,
) -> None:
    content = jpeg()
    honest, broken = cutout_of(content), cutout_of(content[: len(content) // 2] + bytes(len(content) // 2))
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        await outcome(running, honest, 60.0)
        alone = [await outcome(running, honest, 60.0) for _ in range(3)]
        deadline_s = 4 * 60.0 * max(share for _, share in alone)
        for leaving_after_s in (0.0, 0.05, 0.2, 0.5):  # while they are sent, wait, are decoded and rendered
            calls = [asyncio.create_task(outcome(running, honest, 60.0)) for _ in range(CALL_COUNT // 4)]
            ended = asyncio.gather(*(outcome(running, broken, 60.0) for _ in range(CALL_COUNT // 4)))
            await asyncio.wait(calls, timeout=leaving_after_s)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await ended
            await running.gateway.frontend.boundary.wait_idle()
            assert running.gateway.imaging.statistics().in_work == 0
            assert (await outcome(running, honest, deadline_s))[0] == "OK"
            together = await asyncio.gather(*(outcome(running, honest, 3 * deadline_s) for _ in range(3)))
            assert [name for name, _ in together] == ["OK"] * 3
