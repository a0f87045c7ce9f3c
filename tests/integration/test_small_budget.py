# SPDX-License-Identifier: Apache-2.0
"""Callers who promise nothing, and memory for a few of their photos: all are served, also beside bodies that stall."""

import asyncio
import io
from contextlib import AsyncExitStack

import numpy as np
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.admission.gate import MIB, GateSettings
from matting_gateway.http2 import frames
from PIL import Image
from testkit.fake_triton import FakeTriton
from testkit.gateway import running_gateway
from testkit.hostile import PHOTO, connection, request, send_all
from testkit.wire_siege import photo_model

BUDGET_BYTES = 256 * MIB
WIDTH_PX, HEIGHT_PX = 2000, 1500
CALLERS = 24
STALLED = 40


def photo() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


async def test_all_are_served_while_a_few_fit_and_others_stall_and_nothing_stays() -> None:
    message = pb.RemoveBackgroundRequest(
        encoded=pb.EncodedImage(content=photo()), outputs=[pb.OutputSpec(kind=pb.OUTPUT_KIND_CUTOUT)]
    )
    stalled = request(1, PHOTO, b"\0" + (4 * MIB).to_bytes(4, "big") + bytes(40_000), (), ends=False)
    waited = False
    async with (
        FakeTriton(photo_model()) as triton,
        running_gateway(triton.address, gate=GateSettings(budget_bytes=BUDGET_BYTES)) as running,
    ):
        gate = running.gateway.gate

        async def call() -> None:
            nonlocal waited
            answer = await running.stub.RemoveBackground(message, timeout=60)
            waited = waited or gate.statistics().waiting_count > 0
            assert gate.statistics().used_bytes <= BUDGET_BYTES
            assert (answer.outputs[0].width_px, answer.outputs[0].height_px) == (WIDTH_PX, HEIGHT_PX)

        for stalling in (0, STALLED, 0):  # quiet, with bodies that stall, and quiet again
            async with AsyncExitStack() as stack:
                for _ in range(stalling):
                    caller = await stack.enter_async_context(
                        connection(running.address, {frames.INITIAL_WINDOW_SIZE: 1 << 24})
                    )
                    await send_all(caller, [stalled])
                await asyncio.gather(*(call() for _ in range(CALLERS)))
        async with asyncio.timeout(20):
            await running.gateway.doors.boundary.wait_idle()
        assert waited
        statistics = gate.statistics()
        assert (statistics.permit_count, statistics.used_bytes, statistics.waiting_count) == (0, 0, 0)
