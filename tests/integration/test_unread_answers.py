# SPDX-License-Identifier: Apache-2.0
"""Answers that nobody reads hold memory for a bounded time, and not a moment longer than others can do without it."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from grpc_h2.http2.wire import frames
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from testkit.doors import infer_request
from testkit.program import Service, running_service
from testkit.raw_http2 import RawCaller

pytestmark = pytest.mark.triton

SIDE_PX = 96
MAX_CALLS = 6
CANCEL = bytes(3) + bytes([frames.CANCEL])
PHOTO = b"/matting.v1.MattingService/RemoveBackground"
PHOTOS = b"/matting.v1.MattingService/StreamRemoveBackground"
INFER = b"/inference.GRPCInferenceService/ModelInfer"
INFERS = b"/inference.GRPCInferenceService/ModelStreamInfer"
SMALL = b"/matting.v1.MattingService/ListModels"


def photo() -> pb.RemoveBackgroundRequest:
    pixels = pb.PixelImage(
        data=bytes(SIDE_PX * SIDE_PX * 3), width_px=SIDE_PX, height_px=SIDE_PX, pixel_format=pb.PIXEL_FORMAT_RGB8
    )
    return pb.RemoveBackgroundRequest(pixels=pixels, outputs=[pb.OutputSpec(raw=pb.RawEncoding())])


def request_of(method: bytes) -> bytes:
    if method == SMALL:
        return b""
    if method == PHOTO:
        return photo().SerializeToString()
    if method == PHOTOS:
        return pb.StreamRemoveBackgroundRequest(item_id="one", request=photo()).SerializeToString()
    request = infer_request("half", {"values": ("FP16", (1, 4000), bytes(8000))})
    data: bytes = request.SerializeToString()
    return data


def running(triton: LocalTriton, *, default_deadline_s: int) -> AbstractAsyncContextManager[Service]:
    return running_service(
        "--triton", triton.grpc_address, "--default-model", "nothing", "--max-calls", str(MAX_CALLS),
        "--default-deadline-s", str(default_deadline_s),
    )  # fmt: skip


async def assert_served(service: Service) -> None:
    """Assert that an honest caller, who promises nothing, is served long before those who read nothing are cut off."""
    answer = await service.stub.RemoveBackground(photo(), timeout=20)
    assert answer.outputs[0].width_px == SIDE_PX


async def ended(service: Service, method: bytes) -> None:
    """Return when a call of that method has been logged, which is the last that is done for one."""
    name = method.decode().rpartition("/")[2]
    async with asyncio.timeout(20), service.told:
        await service.told.wait_for(lambda: any(event.get("method", "").endswith(name) for event in service.events))


async def ask(caller: RawCaller, method: bytes, count: int) -> None:
    for index in range(count):
        caller.call(2 * index + 1, method)
        caller.message(2 * index + 1, request_of(method))
    await caller.drain()


async def test_who_reads_nothing_gives_way_to_photos_of_others(triton_server: LocalTriton) -> None:
    """Four times what can be held at once, without a deadline, over a window of nothing."""
    async with running(triton_server, default_deadline_s=60) as service:
        for method in (PHOTO, PHOTOS, INFER, INFERS):
            async with AsyncExitStack() as stack:
                for _ in range(4):  # of which each may have so many calls
                    caller = await stack.enter_async_context(
                        RawCaller(service.address, {frames.INITIAL_WINDOW_SIZE: 0})
                    )
                    await ask(caller, method, MAX_CALLS)
                for _ in range(3):
                    await assert_served(service)


async def test_who_reads_nothing_is_cut_off_at_the_default_deadline_and_nothing_of_it_stays(
    triton_server: LocalTriton,
) -> None:
    async with running(triton_server, default_deadline_s=1) as service:
        for method in (PHOTO, PHOTOS, INFER, INFERS, SMALL):
            async with RawCaller(service.address, {frames.INITIAL_WINDOW_SIZE: 0}) as caller:
                await ask(caller, method, 1)
                assert await caller.next_of(frames.RST_STREAM) == (frames.RST_STREAM, 0, 1, CANCEL), method
                await ended(service, method)
                assert await service.metric("matting_resident_images") == 0, method
                assert await service.metric("matting_resident_bytes") == 0, method
