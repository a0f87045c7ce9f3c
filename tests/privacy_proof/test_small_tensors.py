# SPDX-License-Identifier: Apache-2.0
"""Nothing is left of tensors so small that numpy would keep their memory for the next of their size."""

import asyncio
import random

import grpc
import pytest
from matting_triton.local import LocalTriton
from testkit.memory_scan import Canary, scan
from testkit.program import running_service
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

pytestmark = pytest.mark.triton

ROWS, COLUMNS = 4, 8
COUNT, CALLER_COUNT = 300, 16


def request(values: bytes) -> pb.ModelInferRequest:
    """Return one with its values as numbers, which the gateway makes bytes of."""
    made = pb.ModelInferRequest(model_name="delay")
    made.inputs.add(name="row", datatype="UINT8", shape=(ROWS, COLUMNS)).contents.uint_contents.extend(values)
    return made


async def test_nothing_is_left_of_numbers_whether_served_refused_or_given_up(triton_server: LocalTriton) -> None:
    rng, canary = random.Random(0), Canary()
    tensors = [bytes([0xA7]) + rng.randbytes(ROWS * COLUMNS - 1) for _ in range(COUNT)]
    for values in tensors:
        assert canary.add("tensor", values)
    async with running_service("--triton", triton_server.grpc_address, "--default-model", "nothing") as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            infer = pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer
            todo, codes = iter(range(COUNT)), set()

            async def caller() -> None:
                for number in todo:
                    asked = request(tensors[number] + (b"\x01" if number % 3 == 1 else b""))  # too many for the shape
                    call = infer(asked, timeout=30)
                    if number % 3 == 2:
                        call.cancel()
                    codes.add(await call.code())

            await asyncio.gather(*(caller() for _ in range(CALLER_COUNT)))
        assert codes == {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.CANCELLED}
        async with asyncio.timeout(10):
            while scan(service.process.pid, canary).hit_count:  # memory that messages came into rests soon
                await service.metrics()
