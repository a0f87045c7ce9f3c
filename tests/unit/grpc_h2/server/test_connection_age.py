# SPDX-License-Identifier: Apache-2.0
"""A connection that is old enough is sent elsewhere without losing a call, and cut where its calls do not end."""

import asyncio
from typing import Any

import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from testkit.grpc_loopback import Context, loopback
from testkit.raw_http2 import RawCaller

AGE_S = 0.1
MARK = b"draining"
PATIENCE_S = 10


class Service:
    """Methods that answer at once, or when they are told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.peers: set[str] = set()

    def methods(self) -> dict[str, tuple[str, Any]]:
        return {"Quick": ("unary_unary", self.quick), "Slow": ("unary_unary", self.slow)}

    async def quick(self, request: bytes, context: Context) -> bytes:
        self.peers.add(context.peer())
        return bytes(request)

    async def slow(self, request: bytes, _context: Context) -> bytes:
        await self.go_on.wait()
        return bytes(request)


def aged(grace_s: float | None = None) -> Http2Limits:
    return Http2Limits(max_age_s=AGE_S) if grace_s is None else Http2Limits(max_age_s=AGE_S, max_age_grace_s=grace_s)


async def goaway(caller: RawCaller) -> int:
    return int.from_bytes((await caller.next_of(frames.GOAWAY))[3][:4], "big")


async def test_an_old_connection_is_told_in_two_steps_and_ends_with_its_last_call() -> None:
    service = Service()
    async with loopback(service.methods(), limits=aged()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Slow")
        caller.message(1, b"old")
        assert await goaway(caller) == 2**31 - 1
        caller.call(3, b"/test/Quick")  # it does not know yet
        caller.message(3, b"new")
        assert (await caller.next_of(frames.DATA))[2:] == (3, b"\0\0\0\0\3new")
        caller.send(frames.frame(frames.PING, frames.ACK, 0, MARK))
        assert await goaway(caller) == 3
        service.go_on.set()
        assert (await caller.next_of(frames.DATA))[2:] == (1, b"\0\0\0\0\3old")
        assert await caller.closed()


async def test_a_young_connection_beside_an_old_one_is_left_alone() -> None:
    service = Service()
    factors = iter((1.0, 1e6))
    between = lambda _low, _high: next(factors)  # noqa: E731 - a number by chance, known here
    async with loopback(service.methods(), limits=aged(), between=between) as served, RawCaller(served.address) as old:
        old.call(1, b"/test/Quick")
        old.message(1, b"x")
        await old.next_of(frames.DATA)
        async with RawCaller(served.address) as young:
            assert await goaway(old) == 2**31 - 1
            young.call(1, b"/test/Quick")
            young.message(1, b"y")
            assert (await young.next_of(frames.DATA))[2:] == (1, b"\0\0\0\0\1y")


async def test_ages_differ_by_a_tenth_at_the_most() -> None:
    asked: list[tuple[float, float]] = []

    def between(low: float, high: float) -> float:
        asked.append((low, high))
        return 1.0

    async with loopback(Service().methods(), limits=aged(), between=between) as served, RawCaller(served.address) as it:
        await goaway(it)
    assert asked == [(0.9, 1.1)]


@pytest.mark.slow
async def test_calls_that_do_not_end_within_the_grace_are_cut() -> None:
    async with loopback(Service().methods(), limits=aged(grace_s=AGE_S)) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Slow")
        caller.message(1, b"for ever")
        assert await goaway(caller) == 2**31 - 1
        assert await caller.closed()
        async with asyncio.timeout(PATIENCE_S):
            while served.server.connection_count:  # noqa: ASYNC110 - gives way until it is closed from here too
                await asyncio.sleep(0)


@pytest.mark.slow
async def test_a_caller_who_neither_answers_nor_ends_a_stream_is_cut_too() -> None:
    async with loopback(Service().methods(), limits=aged(grace_s=0.3)) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Slow")  # and nothing more
        caller.send(frames.frame(frames.HEADERS, 0, 3, b""))  # a block that never ends
        assert await caller.closed()
        async with asyncio.timeout(PATIENCE_S):
            while served.server.connection_count:  # noqa: ASYNC110 - gives way until it is closed from here too
                await asyncio.sleep(0)


async def test_a_caller_who_leaves_in_time_leaves_nothing_behind() -> None:
    async with loopback(Service().methods(), limits=aged(grace_s=AGE_S)) as served:
        async with RawCaller(served.address) as caller:
            await goaway(caller)
            caller.cut()
        async with asyncio.timeout(PATIENCE_S):
            await served.server.drain()


async def test_a_server_that_drains_does_not_wait_for_those_that_know_already() -> None:
    service = Service()
    async with loopback(service.methods(), limits=aged()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Slow")
        caller.message(1, b"x")
        assert await goaway(caller) == 2**31 - 1
        caller.send(frames.frame(frames.PING, frames.ACK, 0, MARK))
        assert await goaway(caller) == 1
        async with asyncio.timeout(PATIENCE_S):
            await served.server.drain()


@pytest.mark.slow
async def test_a_channel_of_grpcs_own_goes_through_many_connections_without_one_error() -> None:
    service = Service()
    async with loopback(service.methods(), limits=aged(grace_s=AGE_S)) as served, served.channel() as channel:
        quick = channel.unary_unary("/test/Quick", bytes, bytes)
        async with asyncio.timeout(30):
            while len(service.peers) < 5:
                assert await asyncio.gather(*(quick(b"x") for _ in range(8))) == [b"x"] * 8
