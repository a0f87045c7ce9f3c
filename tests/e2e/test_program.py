# SPDX-License-Identifier: Apache-2.0
"""Facts about the program as its operator sees it: it drains, it survives its Triton, it leaves nothing behind."""

import asyncio
import os
import signal

import grpc
import psutil
import pytest
from google.rpc import error_details_pb2, status_pb2
from matting.v1 import matting_service_pb2 as pb
from testkit.gateway import wait_serving
from testkit.local_triton import TEST_MODELS, segments
from testkit.program import PROGRAM, Service, running_service

pytestmark = pytest.mark.triton

ARGUMENTS = ("--repository", str(TEST_MODELS), "--default-model", "slow_matting")


def request_of(seed: int = 0) -> pb.RemoveBackgroundRequest:
    pixels = pb.PixelImage(
        data=bytes([seed] * 64 * 64 * 3), width_px=64, height_px=64, pixel_format=pb.PIXEL_FORMAT_RGB8
    )
    return pb.RemoveBackgroundRequest(pixels=pixels)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata()).get("grpc-status-details-bin", b""))
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    return str(info.reason)


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


async def answered(service: Service, request: pb.RemoveBackgroundRequest) -> bool:
    """Call once the service says that it serves; tell whether it really did."""
    await wait_serving(service.channel)
    try:
        return bool((await service.stub.RemoveBackground(request)).outputs)
    except grpc.aio.AioRpcError as error:
        if reason_of(error) != "BACKEND_UNAVAILABLE":
            raise
        return False


async def test_a_stop_under_load_answers_every_accepted_call_and_leaves_nothing_behind() -> None:
    async with running_service(*ARGUMENTS) as service:
        processes = family(service.process.pid)
        calls = [service.stub.RemoveBackground(request_of(n)) for n in range(8)]
        while await service.metric("matting_resident_images") < 8:
            pass
        service.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*calls)
        assert all(answer.outputs for answer in answers)
        assert await service.process.wait() == 0
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert segments(f"matting_triton_{service.process.pid}_") == []


async def test_a_killed_triton_is_told_at_once_and_comes_back_by_itself() -> None:
    async with running_service(*ARGUMENTS) as service:
        triton = next(p for p in family(service.process.pid) if p.name() == "tritonserver")
        calls = [service.stub.RemoveBackground(request_of(n), timeout=20) for n in range(4)]
        while await service.metric("matting_resident_images") < 4:
            pass
        os.kill(triton.pid, signal.SIGKILL)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        failures = [a for a in answers if isinstance(a, grpc.aio.AioRpcError)]
        assert failures
        assert {(f.code(), reason_of(f)) for f in failures} == {(grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")}
        async with asyncio.timeout(60):
            while not await answered(service, request_of(9)):
                pass
        assert await service.metric("matting_resident_bytes") == 0


async def test_an_address_that_is_taken_ends_the_program_with_a_clear_word() -> None:
    async with running_service(*ARGUMENTS) as service:
        second = await asyncio.create_subprocess_exec(
            *(PROGRAM, "serve", "--listen", service.address, "--triton", "127.0.0.1:1"),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        _, error = await second.communicate()
        assert second.returncode == 1
        assert b"the port is taken" in error
