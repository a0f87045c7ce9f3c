# SPDX-License-Identifier: Apache-2.0
"""ModelStreamInfer: answers in order whatever takes long, whole however slowly they are read, and nothing stays."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from testkit.fake_triton import FakeModel, FakeTriton, echo, echo_config
from testkit.gateway import RunningGateway, running_gateway
from tritonclient.grpc import service_pb2 as pb

WIDTH = 200_000
COUNT = 8
PATIENCE_S = 10.0


@dataclass
class Served:
    """A gateway before two models, of which "slow" answers once it may."""

    gateway: RunningGateway
    go_on: asyncio.Event
    begun: asyncio.Event
    answered: asyncio.Event

    async def quick_answers(self, count: int) -> None:
        """Wait until so many are there."""
        labels = {"model": "quick", "outcome": "ok", "tenant": ""}
        while self.gateway.metric("matting_images_total", **labels) < count:  # noqa: ASYNC110 - gives way meanwhile
            await asyncio.sleep(0)

    def leases(self) -> int:
        return sum(e.shared_memory.leased_count for e in self.gateway.gateway.pool.statistics().endpoints)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    go_on, begun, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        begun.set()
        await go_on.wait()
        return await echo(request)

    async def quick(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        answered.set()
        return await echo(request)

    models = FakeModel(echo_config("slow", width=-1), slow), FakeModel(echo_config("quick", width=-1), quick)
    go_on.set()  # the gateway tries models before it serves
    async with FakeTriton(*models) as triton, running_gateway(triton.address, default_model="quick") as gateway:
        for event in (go_on, begun, answered):
            event.clear()
        yield Served(gateway, go_on, begun, answered)
        go_on.set()


def request(model: str, value: int) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model, id=str(value))
    message.inputs.add(name="x", datatype="UINT8", shape=(1, WIDTH))
    message.raw_input_contents.append(bytes([value]) * WIDTH)
    return message


def open_stream(
    channel: grpc.aio.Channel,
) -> "grpc.aio.StreamStreamCall[pb.ModelInferRequest, pb.ModelStreamInferResponse]":
    return channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )()


def check(answer: pb.ModelStreamInferResponse, value: int) -> None:
    assert answer.error_message == ""
    assert answer.infer_response.id == str(value)
    assert np.all(np.frombuffer(answer.infer_response.raw_output_contents[0], np.uint8) == value)


async def test_a_quick_answer_waits_for_the_slow_one_before_it_and_holds_no_memory_of_batches(served: Served) -> None:
    async with asyncio.timeout(PATIENCE_S), grpc.aio.insecure_channel(served.gateway.address) as channel:
        stream = open_stream(channel)
        await stream.write(request("slow", 1))
        await served.begun.wait()
        for value in range(2, COUNT):
            await stream.write(request("quick", value))
        await stream.done_writing()
        await served.quick_answers(COUNT - 2)
        assert served.gateway.gateway.scheduler.statistics().inflight_job_count == 1
        assert served.gateway.gateway.gate.statistics().permit_count == COUNT - 1
        served.go_on.set()
        for value in range(1, COUNT):
            check(await stream.read(), value)
        assert await stream.read() is grpc.aio.EOF
    assert served.gateway.gateway.gate.statistics().permit_count == 0
    assert served.leases() == 0


async def test_answers_that_are_read_late_are_whole(served: Served) -> None:
    async with asyncio.timeout(PATIENCE_S), grpc.aio.insecure_channel(served.gateway.address) as channel:
        stream = open_stream(channel)
        for value in range(COUNT):
            await stream.write(request("quick", value))
        await stream.done_writing()
        await served.quick_answers(COUNT)  # of which more than a window is unread
        for value in range(COUNT):
            check(await stream.read(), value)
        assert await stream.read() is grpc.aio.EOF


async def test_a_stream_that_is_cancelled_leaves_nothing_of_its_items(served: Served) -> None:
    async with asyncio.timeout(PATIENCE_S), grpc.aio.insecure_channel(served.gateway.address) as channel:
        stream = open_stream(channel)
        await stream.write(request("slow", 1))
        for value in range(2, COUNT):
            await stream.write(request("quick", value))
        await served.begun.wait()
        await served.answered.wait()
        stream.cancel()
        await served.gateway.gateway.frontend.boundary.wait_idle()
        assert served.gateway.gateway.gate.statistics().permit_count == 0
        served.go_on.set()
        while served.gateway.gateway.scheduler.statistics().inflight_job_count:  # noqa: ASYNC110 - gives way until it ends
            await asyncio.sleep(0)
    assert served.leases() == 0
