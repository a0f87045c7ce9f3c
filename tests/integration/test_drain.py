# SPDX-License-Identifier: Apache-2.0
"""A gateway that is stopped hands its callers over to another one, and answers what it has accepted."""

import asyncio
import signal

import grpc
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_triton.local import LocalTriton
from testkit.program import Service, running_service

pytestmark = pytest.mark.triton

BOTH = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
)
REQUEST = pb.RemoveBackgroundRequest(
    pixels=pb.PixelImage(data=bytes(64 * 64 * 3), width_px=64, height_px=64, pixel_format=pb.PIXEL_FORMAT_RGB8)
)
LONG_COUNT = 6


async def images(service: Service, model: str) -> float:
    return await service.metric("matting_images_total", model=model, outcome="ok", tenant="")


async def call_until(done: asyncio.Future[int], stub: pb_grpc.MattingServiceStub) -> int:
    """Call one after the other until then; an error is raised."""
    count = 0
    while not done.done():
        assert (await stub.RemoveBackground(REQUEST)).outputs
        count += 1
    return count


async def test_new_calls_on_an_old_channel_move_to_a_second_gateway_without_one_error(
    triton_server: LocalTriton,
) -> None:
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing")
    async with running_service(*arguments) as leaving, running_service(*arguments) as staying:
        addresses = f"ipv4:{leaving.address},{staying.address}"
        async with grpc.aio.insecure_channel(addresses, options=BOTH) as channel:
            stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
            while not (await images(leaving, "nothing") and await images(staying, "nothing")):
                await stub.RemoveBackground(REQUEST)
            slow = pb.RemoveBackgroundRequest(pixels=REQUEST.pixels, model=pb.ModelRef(name="slow_matting"))
            long = [asyncio.ensure_future(leaving.stub.RemoveBackground(slow)) for _ in range(LONG_COUNT)]
            while await leaving.metric("matting_resident_images") < LONG_COUNT:
                pass
            ended = asyncio.ensure_future(leaving.process.wait())
            leaving.process.send_signal(signal.SIGTERM)
            count = await call_until(ended, stub)
            assert all(answer.outputs for answer in await asyncio.gather(*long))
        assert leaving.process.returncode == 0
        assert count > 0
        assert await images(staying, "nothing") >= count
        (draining,) = [event for event in leaving.events if event["event"] == "draining"]
        assert draining["event"] == "draining"


async def test_what_callers_do_wrong_is_counted_and_told_and_connections_are_counted(
    triton_server: LocalTriton,
) -> None:
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing")
    async with running_service(*arguments) as service:
        before = await service.metric("matting_connections")
        host, _, port = service.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        while await service.metric("matting_connections") != before + 1:
            pass
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await reader.read()
        writer.close()
        (fault,) = await service.events_named("protocol_fault")
        assert (fault["kind"], fault["peer"]) == ("no_preface", "127.0.0.0/24")
        assert await service.metric("matting_protocol_faults_total", kind="no_preface") == 1
        while await service.metric("matting_connections") != before:
            pass
        assert (await service.stub.RemoveBackground(REQUEST)).outputs
