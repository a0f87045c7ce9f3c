# SPDX-License-Identifier: Apache-2.0
"""Callers who mean no good, on the HTTP/2 level: honest ones are served meanwhile, and memory stays bounded."""

import asyncio
from collections.abc import Iterator

import grpc
import psutil
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_triton.local import LocalTriton
from privacy_proof.service import Service, started_service
from testkit.slow_client import SlowBody, flood, frame, headers, ping, reset, settings

pytestmark = pytest.mark.triton

SIDE_PX = 64
GROWTH_BYTES = 64 << 20
MAX_STREAMS = 50


def photo() -> pb.RemoveBackgroundRequest:
    pixels = pb.PixelImage(
        data=bytes(SIDE_PX * SIDE_PX * 3), width_px=SIDE_PX, height_px=SIDE_PX, pixel_format=pb.PIXEL_FORMAT_RGB8
    )
    return pb.RemoveBackgroundRequest(pixels=pixels, outputs=[pb.OutputSpec(raw=pb.RawEncoding())])


@pytest.fixture(scope="module")
def service(triton_server: LocalTriton) -> Iterator[Service]:
    arguments = (
        "--triton",
        triton_server.grpc_address,
        "--default-model",
        "nothing",
        "--max-streams",
        str(MAX_STREAMS),
    )
    with started_service(*arguments) as service:
        yield service


async def serve_one(service: Service, deadline_s: float = 20) -> None:
    request = photo()
    metadata = (("x-matting-request-bytes", str(request.ByteSize())), ("x-matting-pixels", str(SIDE_PX * SIDE_PX)))
    async with service.channel() as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        answer = await stub.RemoveBackground(request, timeout=deadline_s, metadata=metadata)
    assert answer.outputs[0].width_px == SIDE_PX


def resident_bytes(service: Service) -> int:
    return int(psutil.Process(service.pid).memory_info().rss)


async def test_slow_bodies_do_not_shut_honest_callers_out(service: Service) -> None:
    bodies = [SlowBody(service.address) for _ in range(200)]
    await asyncio.gather(*(body.open() for body in bodies))
    drips = [asyncio.create_task(body.drip(0.1)) for body in bodies]
    try:
        before = resident_bytes(service)
        for _ in range(5):
            await serve_one(service)
        assert resident_bytes(service) - before < GROWTH_BYTES
    finally:
        for drip in drips:
            drip.cancel()
        await asyncio.gather(*drips, return_exceptions=True)


async def test_callers_who_promise_little_and_stay_silent_give_way_to_those_who_send(service: Service) -> None:
    """They would hold all of the memory until their time to send is over, 20 s."""
    bodies = [SlowBody(service.address, promised_bytes=1000, body_bytes=900) for _ in range(300)]
    await asyncio.gather(*(body.open() for body in bodies))
    drips = [asyncio.create_task(body.drip(1)) for body in bodies]
    try:
        for _ in range(3):
            await serve_one(service, deadline_s=10)
    finally:
        for drip in drips:
            drip.cancel()
        await asyncio.gather(*drips, return_exceptions=True)


async def test_idle_streams_over_the_limit_are_refused_and_the_rest_cost_little(service: Service) -> None:
    before = resident_bytes(service)
    async with service.channel() as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        streams = [stub.StreamRemoveBackground() for _ in range(400)]
        codes: list[grpc.StatusCode] = []
        enough = asyncio.Event()

        async def ended(stream: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
            codes.append(await stream.code())
            if len(codes) >= len(streams) - MAX_STREAMS:
                enough.set()

        tasks = [asyncio.create_task(ended(stream)) for stream in streams]
        async with asyncio.timeout(30):
            await enough.wait()
        assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await serve_one(service)
        assert len(codes) == len(streams) - MAX_STREAMS
        assert resident_bytes(service) - before < GROWTH_BYTES
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def rapid_reset() -> bytes:
    """CVE-2023-44487: streams opened and reset at once, as fast as they can be written."""
    return b"".join(headers(stream) + reset(stream) for stream in range(1, 400, 2))


@pytest.mark.parametrize(
    ("data", "repeat"),
    [
        pytest.param(rapid_reset(), 1, id="rapid reset"),
        pytest.param(ping(), 5000, id="pings"),
        pytest.param(settings(initial_window_size=1), 5000, id="settings"),
        pytest.param(headers(1, *((f"x-{i}", "y" * 100) for i in range(400))), 1, id="metadata"),
        pytest.param(frame(9, bytes(16000), stream=1), 200, id="continuations of nothing"),
        pytest.param(frame(0, bytes(16000), stream=77), 200, id="data of no stream"),
        pytest.param(b"\xff" * 9, 100, id="no frames at all"),
    ],
)
async def test_floods_end_and_the_next_caller_is_served(service: Service, data: bytes, repeat: int) -> None:
    before = resident_bytes(service)
    await flood(service.address, data, repeat=repeat)
    await serve_one(service)
    assert resident_bytes(service) - before < GROWTH_BYTES


async def test_a_window_of_one_byte_holds_up_nobody_else(service: Service) -> None:
    """The answer to this caller trickles; it goes, and the others are served."""
    await flood(service.address, settings(initial_window_size=1) + headers(1), repeat=1)
    await serve_one(service)
