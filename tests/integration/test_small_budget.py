# SPDX-License-Identifier: Apache-2.0
"""Callers who promise nothing, and memory for a few messages: all are served, also beside bodies that stall."""

import asyncio
import io
from contextlib import AsyncExitStack

import numpy as np
import pytest
from grpc_h2.http2.wire import frames
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.admission.settings import GateSettings
from matting_gateway.options import MIB
from matting_gateway.rpc.settings import DoorSettings
from PIL import Image
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.gateway import RunningGateway, running_gateway
from testkit.hostile import INFER, PHOTO, connection, request, send_all
from testkit.wire_siege import photo_model
from tritonclient.grpc import service_pb2, service_pb2_grpc

BUDGET_BYTES = 256 * MIB
WIDTH_PX, HEIGHT_PX = 2000, 1500
CALLERS = 24
STALLED = 40
TENSOR_BYTES = 3 * MIB


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
        await nothing_is_left(running)
        assert waited


# Callers and gateway share one process, and who sends slower than a least pace gives way to the others.
@pytest.mark.alone
async def test_tensors_are_served_beside_bodies_that_stall_or_never_begin_which_are_told_so_in_time() -> None:
    tensor = service_pb2.ModelInferRequest(model_name="echo", raw_input_contents=[bytes(TENSOR_BYTES)])
    tensor.inputs.add(name="x", datatype="UINT8", shape=(1, TENSOR_BYTES))
    announced = b"\0" + (4 * MIB).to_bytes(4, "big")
    bodies = (announced + bytes(40_000), announced, b"\0")  # well begun, hardly, and not so that its length is known
    async with (
        FakeTriton(photo_model(), FakeModel(echo_config(width=TENSOR_BYTES))) as triton,
        running_gateway(
            triton.address,
            gate=GateSettings(budget_bytes=BUDGET_BYTES),
            door=DoorSettings(receive_timeout_s=2.0),
        ) as running,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(running.channel)

        async def call() -> None:
            answer = await stub.ModelInfer(tensor, timeout=60)
            assert len(answer.raw_output_contents[0]) == TENSOR_BYTES

        async def stall(stack: AsyncExitStack) -> None:
            for number in range(STALLED):
                caller = await stack.enter_async_context(
                    connection(running.address, {frames.INITIAL_WINDOW_SIZE: 1 << 24})
                )
                await send_all(caller, [request(1, INFER, bodies[number % len(bodies)], (), ends=False)])

        for stays in (True, False):  # until they are told, and gone before that
            async with AsyncExitStack() as stack:
                await stall(stack)
                await asyncio.gather(*(call() for _ in range(CALLERS)))
                if stays:
                    await nothing_is_left(running)
            await nothing_is_left(running)
        await asyncio.gather(*(call() for _ in range(CALLERS)))
        await nothing_is_left(running)


async def nothing_is_left(running: RunningGateway) -> None:
    """Wait until no call is open any more; nothing is held then, and nobody waits."""
    async with asyncio.timeout(20):
        await running.gateway.frontend.boundary.wait_idle()
    statistics = running.gateway.gate.statistics()
    assert (statistics.permit_count, statistics.used_bytes, statistics.waiting_count) == (0, 0, 0)
