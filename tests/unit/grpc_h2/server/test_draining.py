# SPDX-License-Identifier: Apache-2.0
"""A server that drains sends callers elsewhere in two steps: nothing that they sent before they knew is lost."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_h2.http2.server_protocol import ServerProtocol
from grpc_h2.http2.wire import frames
from testkit.grpc_loopback import Context, Loopback, loopback
from testkit.raw_http2 import RawCaller

PATIENCE_S = 10
MARK = b"draining"
MANY = 2**31 - 1
NO_ERROR = bytes(4)


class Service:
    """Methods that answer at once, or when they are told to, and the count of their calls."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.quick_count = 0

    def methods(self) -> dict[str, tuple[str, Any]]:
        return {"Quick": ("unary_unary", self.quick), "Slow": ("unary_unary", self.slow)}

    async def quick(self, request: bytes, _context: Context) -> bytes:
        self.quick_count += 1
        return bytes(request)

    async def slow(self, request: bytes, _context: Context) -> bytes:
        self.begun.set()
        await self.go_on.wait()
        return bytes(request)


def port_of(connection: ServerProtocol) -> int:
    assert connection.transport is not None
    return int(connection.transport.get_extra_info("peername")[1])


def went_away(last_id: int) -> bytes:
    return last_id.to_bytes(4, "big") + NO_ERROR


async def begin_to_drain(served: Loopback, caller: RawCaller) -> asyncio.Task[None]:
    """Have the server drain, and return that once the caller has been told, and not answered."""
    drain = asyncio.create_task(served.server.drain())
    assert (await caller.next_of(frames.GOAWAY))[3] == went_away(MANY)
    assert await caller.next_of(frames.PING) == (frames.PING, 0, 0, MARK)
    return drain


async def test_what_a_caller_begins_before_it_knows_is_served_and_the_rest_refused_so_that_it_goes_elsewhere() -> None:
    service = Service()
    async with loopback(service.methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Slow")
        caller.message(1, b"old")
        async with asyncio.timeout(PATIENCE_S):
            await service.begun.wait()
            drain = await begin_to_drain(served, caller)
            caller.call(3, b"/test/Quick")
            caller.message(3, b"new")
            assert (await caller.next_of(frames.DATA))[2:] == (3, b"\0\0\0\0\3new")
            assert not drain.done()
            caller.send(frames.frame(frames.PING, frames.ACK, 0, MARK))
            assert (await caller.next_of(frames.GOAWAY))[3] == went_away(3)
            await drain
            caller.call(5, b"/test/Quick")
            caller.message(5, b"late")
            reset = await caller.next_of(frames.RST_STREAM)
            assert reset[2:] == (5, frames.REFUSED_STREAM.to_bytes(4, "big"))
            service.go_on.set()
            assert (await caller.next_of(frames.DATA))[2:] == (1, b"\0\0\0\0\3old")
            assert await caller.closed()
    assert service.quick_count == 1


async def test_an_idle_connection_is_closed_once_its_caller_knows() -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        drain = await begin_to_drain(served, caller)
        caller.send(frames.frame(frames.PING, frames.ACK, 0, MARK))
        assert (await caller.next_of(frames.GOAWAY))[3] == went_away(0)
        assert await caller.closed() == b""
        await drain


@pytest.mark.slow
async def test_a_caller_who_does_not_answer_has_a_second() -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Slow")
        caller.message(1, b"x")
        drain = await begin_to_drain(served, caller)
        assert (await caller.next_of(frames.GOAWAY))[3] == went_away(1)
        await drain


async def test_a_caller_who_leaves_meanwhile_is_not_waited_for() -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        drain = await begin_to_drain(served, caller)
        caller.cut()
        async with asyncio.timeout(PATIENCE_S):
            await drain


async def test_answers_to_a_ping_that_was_not_sent_end_nothing() -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        for payload in (MARK, bytes(8)):
            caller.send(frames.frame(frames.PING, frames.ACK, 0, payload))
        caller.call(1, b"/test/Quick")
        caller.message(1, b"x")
        assert (await caller.next_of(frames.DATA))[2:] == (1, b"\0\0\0\0\1x")
        drain = await begin_to_drain(served, caller)
        for _ in range(2):
            caller.send(frames.frame(frames.PING, frames.ACK, 0, MARK))
        assert (await caller.next_of(frames.GOAWAY))[3] == went_away(1)
        await drain


async def test_one_connection_can_be_drained_alone() -> None:
    async with (
        loopback(Service().methods()) as served,
        RawCaller(served.address) as caller,
        RawCaller(served.address) as other,
    ):
        for each in (caller, other):
            each.call(1, b"/test/Quick")
            each.message(1, b"x")
            await each.next_of(frames.DATA)
        port = caller.local_port
        (protocol,) = [each for each in served.server._connections if port_of(each) == port]
        drained = protocol.drain()
        await caller.next_of(frames.PING)
        caller.send(frames.frame(frames.PING, frames.ACK, 0, MARK))
        async with asyncio.timeout(PATIENCE_S):
            await drained
            await caller.closed()
        other.call(3, b"/test/Quick")
        other.message(3, b"y")
        assert (await other.next_of(frames.DATA))[2:] == (3, b"\0\0\0\0\1y")


async def test_nobody_new_is_let_in() -> None:
    async with loopback(Service().methods()) as served:
        await served.server.drain()
        with pytest.raises(ConnectionRefusedError):
            await RawCaller(served.address).__aenter__()


@pytest.mark.slow
async def test_an_old_channels_new_calls_move_to_a_second_server_without_an_error() -> None:
    leaving, staying = Service(), Service()
    async with loopback(leaving.methods()) as first, loopback(staying.methods()) as second:
        options = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
        )
        async with grpc.aio.insecure_channel(f"ipv4:{first.address},{second.address}", options=options) as channel:
            quick = channel.unary_unary("/test/Quick", bytes, bytes)
            async with asyncio.timeout(PATIENCE_S):
                while not (leaving.quick_count and staying.quick_count):
                    await quick(b"both are there", wait_for_ready=True)
                slow = [channel.unary_unary("/test/Slow", bytes, bytes)(b"x") for _ in range(4)]
                await leaving.begun.wait()
            drain = asyncio.create_task(first.server.drain())
            for _ in range(50):
                await asyncio.gather(*(quick(b"x") for _ in range(4)))
            await drain
            count = leaving.quick_count
            assert [bytes(answer) for answer in await asyncio.gather(*(quick(b"x") for _ in range(100)))] == [
                b"x"
            ] * 100
            assert leaving.quick_count == count
            for service in (leaving, staying):
                service.go_on.set()
            assert await asyncio.gather(*slow) == [b"x"] * 4
