# SPDX-License-Identifier: Apache-2.0
"""No method gives a caller memory for what its first bytes claim: the program, each of its methods, on a raw wire."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_h2.http2.wire import frames
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from testkit.long_runs import short_or_long
from testkit.program import Service, running_service
from testkit.raw_http2 import RawCaller
from testkit.tenants import bearer, table

# Of the fewer too, 64 KiB for each would be more than they may take.
STREAM_COUNT = short_or_long(250, 500)
CLAIM = b"\0" + (64 << 20).to_bytes(4, "big")
# 8 KiB for each stream and its answer, and what Python keeps of its own.
GROWTH_BYTES = STREAM_COUNT * (8 << 10) + (12 << 20)


@pytest.fixture(params=["open", "tenants"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    """The program, without a Triton: nothing here gets so far."""
    arguments = ["--triton", "127.0.0.1:1"]
    if request.param == "tenants":
        file = tmp_path / "tenants.toml"
        file.write_text(table("shop", "operator = true"))
        arguments += ["--tenants", str(file)]
    async with running_service(*arguments, serving=False) as service:
        yield service


def methods_of(service: Service) -> list[str]:
    """Return every method that the program serves, as it says itself, and one that it does not."""
    with grpc.insecure_channel(service.address) as channel:
        known = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, Token()))
        pool = DescriptorPool(known)
        found = [
            f"/{name}/{method.name}" for name in known.get_services() for method in pool.FindServiceByName(name).methods
        ]
    assert len(found) > 20
    return [*found, "/made.up.Service/Method"]


class Token(grpc.StreamStreamClientInterceptor):
    """Says who calls, to those who ask."""

    def intercept_stream_stream(self, continuation, details, requests):  # type: ignore[no-untyped-def]
        return continuation(details._replace(metadata=bearer("token-shop")), requests)


async def attack(caller: RawCaller, method: str) -> None:
    """Open streams that claim 64 MiB each, and return once the server has done with them what it does."""
    for index in range(STREAM_COUNT):
        caller.call(2 * index + 1, method.encode())
        caller.send(frames.frame(frames.DATA, 0, 2 * index + 1, CLAIM))
    for _ in range(2):  # after the second answer the tasks of the calls have had their turn
        caller.send(frames.frame(frames.PING, 0, 0, bytes(8)))
        await caller.next_of(frames.PING)


async def test_five_bytes_take_no_memory_of_any_method(service: Service) -> None:
    process = psutil.Process(service.process.pid)
    methods = await asyncio.to_thread(methods_of, service)
    before = process.memory_info().rss
    grown: dict[str, int] = {}
    for method in methods:
        async with RawCaller(service.address) as caller:
            await attack(caller, method)
            grown[method] = process.memory_info().rss - before
    assert {method: byte_count for method, byte_count in grown.items() if byte_count > GROWTH_BYTES} == {}
    stub = health_pb2_grpc.HealthStub(service.channel)
    await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)


async def test_whoever_says_not_who_they_are_is_answered_before_anything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(table("shop"))
    async with running_service("--triton", "127.0.0.1:1", "--tenants", str(file), serving=False) as service:
        for method in ("/matting.v1.MattingService/ListModels", "/inference.GRPCInferenceService/ServerLive"):
            async with RawCaller(service.address) as caller:
                caller.call(1, method.encode())
                assert (await caller.headers())[b"grpc-status"] == b"16"


async def test_what_is_sent_of_small_methods_is_bounded_and_counted(service: Service) -> None:
    """4,000 callers who send nearly all of what a small message may have, and no more."""
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    part = b"\0" + (64 << 10).to_bytes(4, "big") + bytes(60 << 10)
    async with RawCaller(service.address) as caller:
        for index in range(2000):
            caller.call(2 * index + 1, b"/grpc.health.v1.Health/Check")
            for start in range(0, len(part), frames.DEFAULT_FRAME_BYTES):
                data = part[start : start + frames.DEFAULT_FRAME_BYTES]
                caller.send(frames.frame(frames.DATA, 0, 2 * index + 1, data))
            await caller.drain()
        caller.send(frames.frame(frames.PING, 0, 0, bytes(8)))
        await caller.next_of(frames.PING)
        assert process.memory_info().rss - before < 96 << 20
        stub = health_pb2_grpc.HealthStub(service.channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert await service.metric("matting_refused_bytes_total") > 50 << 20
