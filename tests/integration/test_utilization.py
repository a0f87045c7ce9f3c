# SPDX-License-Identifier: Apache-2.0
"""`matting_utilization` and the report to balancers follow what callers offer, on the program and a real Triton."""

import asyncio
import base64
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_h2.http2.wire import frames
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.admission.settings import GateSettings
from matting_gateway.rpc.serving.load_report import LOAD_REPORT_KEY
from matting_triton.local import LocalTriton
from testkit.doors import infer_request
from testkit.fake_triton import FakeModel, FakeTriton, echo, echo_config
from testkit.gateway import running_gateway
from testkit.load_reports import Report, read_report
from testkit.photo_files import photo_files
from testkit.program import Service, running_service
from testkit.raw_http2 import RawCaller
from testkit.steady_load import SteadyLoad

pytestmark = pytest.mark.alone

INFER = "/inference.GRPCInferenceService/ModelInfer"
# The model `delay` takes 20 ms and 5 ms more for each row, at most 8 of them.
CAPACITY = 8 / 0.060
ROW = infer_request("delay", {"row": ("UINT8", (1, 8), bytes(8))}).SerializeToString()
# How long the figures may take to follow a change, and a tenth more for the report, which is as old as that.
FOLLOWS_S = 1.1


class Reports:
    """Asks a gateway what it reports to balancers, which gRPC's own library keeps from its users."""

    def __init__(self, caller: RawCaller) -> None:
        self._caller = caller
        self._stream_id = -1

    async def now(self) -> Report:
        self._stream_id += 2
        self._caller.call(self._stream_id, b"/inference.GRPCInferenceService/ServerLive")
        self._caller.message(self._stream_id, b"")
        while True:
            _, flags, _, block = await self._caller.next_of(frames.HEADERS)
            fields = dict(self._caller.decode(block))
            if flags & frames.END_STREAM:
                value = fields[LOAD_REPORT_KEY.encode()]
                return read_report(base64.b64decode(value + b"=" * (-len(value) % 4)))


def calls_of(channel: grpc.aio.Channel, message: bytes, *, timeout_s: float) -> Callable[[], Awaitable[Any]]:
    method = channel.unary_unary(INFER, bytes, bytes)
    return lambda: method(message, timeout=timeout_s)


async def said_of(service: Service, reports: Reports) -> tuple[float, Report]:
    return await service.metric("matting_utilization"), await reports.now()


@pytest.mark.triton
async def test_the_gauge_and_the_report_follow_the_load_within_a_second_up_and_down(triton_server: LocalTriton) -> None:
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing")
    async with (
        running_service(*arguments) as service,
        RawCaller(service.address) as caller,
        SteadyLoad(calls_of(service.channel, ROW, timeout_s=0.5), 0.5 * CAPACITY) as load,
    ):
        reports = Reports(caller)
        await load.after(2.0)  # the model's speed is learned
        for times, slack in ((0.5, 0.1), (1.0, 0.15), (2.0, 0.3), (0.5, 0.1)):
            await load.after(FOLLOWS_S, rate=times * CAPACITY)
            gauge, report = await said_of(service, reports)
            assert gauge == pytest.approx(times, abs=slack)
            assert report.utilization == pytest.approx(times, abs=slack)
            assert report.rps == pytest.approx(times * CAPACITY, rel=0.35)
            assert (report.eps > 0.3 * report.rps) == (times == 2.0)
    assert set(load.codes) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}


@pytest.mark.triton
async def test_where_photos_are_more_than_the_workers_can_do_it_says_so(triton_server: LocalTriton) -> None:
    content = photo_files(1024, 768, "JPEG")["JPEG"]
    outputs = [pb.OutputSpec(kind=pb.OUTPUT_KIND_CUTOUT)]
    photo = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=content), outputs=outputs)
    message = photo.SerializeToString()
    promise = (("x-matting-request-bytes", str(len(message))), ("x-matting-pixels", str(1024 * 768)))
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing", "--imaging-workers", "1")
    async with running_service(*arguments) as service:
        remove = service.channel.unary_unary("/matting.v1.MattingService/RemoveBackground", bytes, bytes)
        for _ in range(5):
            await remove(message, metadata=promise)
        since_s, count = time.monotonic(), 40
        for _ in range(count // 4):
            await asyncio.gather(*(remove(message, metadata=promise) for _ in range(4)))
        capacity = count / (time.monotonic() - since_s)
        async with SteadyLoad(lambda: remove(message, metadata=promise, timeout=0.5), 0.4 * capacity) as load:
            await load.after(FOLLOWS_S)
            calm = await service.metric("matting_utilization")
            await load.after(FOLLOWS_S, rate=3 * capacity)
            crowded = await service.metric("matting_utilization")
    assert 0.2 < calm < 0.8
    assert crowded > 1.6


async def test_callers_who_wait_for_a_place_are_counted_as_they_come() -> None:
    async def slow(request: Any) -> Any:
        await asyncio.sleep(0.05)
        return await echo(request)

    message = infer_request("echo", {"x": ("UINT8", (1, 3), b"abc")}).SerializeToString()
    gate = GateSettings(max_permit_count=1)
    async with (
        FakeTriton(FakeModel(echo_config(max_batch_size=1), answer=slow)) as triton,
        running_gateway(triton.address, default_model="echo", gate=gate) as running,
        AsyncExitStack() as stack,
    ):
        # A connection may have as many calls open as there are places.
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(running.address, options=options))
            for _ in range(100)
        ]
        calls = itertools.cycle([calls_of(channel, message, timeout_s=1.0) for channel in channels])

        def call() -> Awaitable[Any]:
            return next(calls)()

        load = await stack.enter_async_context(SteadyLoad(call, 10))
        await load.after(1.5)
        assert running.metric("matting_utilization") == pytest.approx(0.5, abs=0.15)
        await load.after(FOLLOWS_S, rate=60)
        assert running.metric("matting_utilization") == pytest.approx(3.0, abs=0.6)


async def test_requests_that_are_none_are_no_load() -> None:
    message = infer_request("echo", {"y": ("UINT8", (1, 3), b"abc")}).SerializeToString()
    async with (
        FakeTriton(FakeModel(echo_config())) as triton,
        running_gateway(triton.address, default_model="echo") as running,
        SteadyLoad(calls_of(running.channel, message, timeout_s=2.0), 100) as load,
    ):
        await load.after(0.5)
        assert running.metric("matting_utilization") == 0.0
    assert set(load.codes) == {"INVALID_ARGUMENT"}
