# SPDX-License-Identifier: Apache-2.0
"""Calls that end before they are answered: by their caller, by time, with the connection, or with the server."""

import asyncio
import gc
import weakref
from typing import Any

import grpc
import pytest
from grpc_h2.client.call import Call
from grpc_h2.client.caller import UnaryCaller
from grpc_h2.client.status import Failure
from grpc_h2.http2.wire import frames
from testkit.grpc_servers import RawServer, caller_of, grpc_server
from testkit.http2_client import HEADERS, block_frame

PATIENCE_S = 20.0
SHORT_S = 0.05


class Slow:
    """A method that answers when told to. Counts who came and who was cancelled."""

    def __init__(self) -> None:
        self.came, self.cancelled, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(self, request: bytes, _context: Any) -> bytes:
        self.came.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request


async def code_of(work: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await work
    return caught.value.code()


async def test_a_cancelled_call_is_cancelled_at_the_server_and_others_go_on() -> None:
    slow = Slow()
    async with asyncio.timeout(PATIENCE_S), grpc_server({"Echo": slow.serve}) as target, caller_of(target) as caller:
        given_up, other = (asyncio.create_task(caller.call(bytes([i]))) for i in range(2))
        await slow.came.wait()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await slow.cancelled.wait()
        slow.go.set()
        assert await other == b"\1"


async def test_a_call_that_takes_too_long_is_cancelled_at_the_server() -> None:
    slow = Slow()
    async with grpc_server({"Echo": slow.serve}) as target, caller_of(target) as caller:
        assert await code_of(caller.call(b"x", 0.2)) is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(PATIENCE_S):
            await slow.cancelled.wait()
        slow.go.set()
        assert await caller.call(b"x", PATIENCE_S) == b"x"


@pytest.mark.parametrize("timeout_s", [0.0, SHORT_S])
async def test_a_call_with_no_time_left_while_there_is_no_connection_is_not_sent(timeout_s: float) -> None:
    raw = RawServer(b"", greets=False)
    async with raw.listening() as target, caller_of(target) as caller:
        assert await code_of(caller.call(b"x", timeout_s)) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert not raw.asked.is_set()


async def test_a_call_that_nobody_waits_for_goes_on_and_its_end_is_told() -> None:
    slow, ends = Slow(), list[Failure | None]()
    told = asyncio.Event()

    def on_end(failure: Failure | None) -> None:
        ends.append(failure)
        told.set()

    async with asyncio.timeout(PATIENCE_S), grpc_server({"Echo": slow.serve}) as target, caller_of(target) as caller:

        async def impatient() -> bytearray:
            async with asyncio.timeout(SHORT_S):
                return await caller.begin(b"x", on_end=on_end).answer()

        with pytest.raises(TimeoutError):
            await impatient()
        await slow.came.wait()
        assert not ends
        slow.go.set()
        await told.wait()
        assert not slow.cancelled.is_set()
    assert ends == [None]


async def test_the_end_is_told_before_whoever_waits_goes_on() -> None:
    order: list[str] = []
    slow = Slow()
    slow.go.set()
    async with grpc_server({"Echo": slow.serve}) as target, caller_of(target) as caller:
        await caller.begin(b"x", on_end=lambda _: order.append("told")).answer()
        order.append("answered")
    assert order == ["told", "answered"]


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with caller_of("127.0.0.1:1") as caller:
        assert await code_of(caller.call(b"x")) is grpc.StatusCode.UNAVAILABLE


async def test_a_lost_connection_fails_what_it_had_and_the_next_call_has_another() -> None:
    slow = Slow()
    async with asyncio.timeout(PATIENCE_S), grpc_server({"Echo": slow.serve}) as target, caller_of(target) as caller:
        calls = [asyncio.create_task(caller.call(b"x")) for _ in range(3)]
        await slow.came.wait()
        (protocol,) = caller._open
        assert protocol.transport is not None
        protocol.transport.abort()
        assert [await code_of(call) for call in calls] == [grpc.StatusCode.UNAVAILABLE] * 3
        slow.go.set()
        assert await caller.call(b"x", PATIENCE_S) == b"x"
        assert protocol not in caller._open


async def test_a_server_that_vanishes_fails_what_it_had() -> None:
    slow = Slow()
    async with asyncio.timeout(PATIENCE_S), caller_of("unix:none") as nobody:
        async with grpc_server({"Echo": slow.serve}) as target:
            caller = UnaryCaller(target, "/test/Echo", max_message_bytes=1000, connect_timeout_s=PATIENCE_S)
            call = asyncio.create_task(caller.call(b"x"))
            await slow.came.wait()
        assert await code_of(call) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(caller.call(b"x")) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(nobody.call(b"x")) is grpc.StatusCode.UNAVAILABLE
        await caller.close()


async def test_a_connection_lost_in_the_middle_of_an_answer_fails_the_call() -> None:
    part = block_frame(1, HEADERS) + frames.frame(frames.DATA, 0, 1, b"\0\0\0\0\x09half")
    raw = RawServer(part, hangs_up=True)
    async with raw.listening() as target, caller_of(target) as caller:
        assert await code_of(caller.call(b"x")) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(caller.call(b"x")) is grpc.StatusCode.UNAVAILABLE
        assert raw.connection_count == 2


async def test_calls_that_find_no_connection_wait_for_one_attempt_together() -> None:
    raw = RawServer(b"", greets=False)
    async with raw.listening() as target, caller_of(target, connect_timeout_s=SHORT_S) as caller:
        codes = await asyncio.gather(*(code_of(caller.call(b"x")) for _ in range(5)))
        assert codes == [grpc.StatusCode.UNAVAILABLE] * 5
        assert raw.connection_count == 1


async def test_a_name_that_nobody_knows_is_unavailable() -> None:
    async with caller_of("no-such-host.invalid:1") as caller:
        assert await code_of(caller.call(b"x")) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("connected", [False, True])
async def test_closing_fails_what_is_under_way_and_takes_no_more(connected: bool) -> None:
    raw = RawServer(b"", greets=connected)
    async with raw.listening() as target, caller_of(target) as caller:
        call = asyncio.create_task(caller.call(b"x"))
        if connected:
            await raw.asked.wait()
        else:
            await asyncio.sleep(0)
        await caller.close()
        assert await code_of(call) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(caller.call(b"x")) is grpc.StatusCode.UNAVAILABLE


async def test_after_goaway_the_next_call_has_another_connection_and_the_old_one_is_closed() -> None:
    slow = Slow()
    slow.go.set()
    async with grpc_server({"Echo": slow.serve}) as target, caller_of(target) as caller:
        await caller.call(b"x", PATIENCE_S)
        (protocol,) = caller._open
        protocol.connection.receiving.take(memoryview(frames.goaway(1, frames.NO_ERROR)))
        assert await caller.call(b"y", PATIENCE_S) == b"y"
        assert protocol not in caller._open
        assert len(caller._open) == 1


@pytest.mark.slow
async def test_a_failed_call_holds_nothing_of_its_request() -> None:
    class Request(bytearray):
        """Can be referred to weakly."""

    async with caller_of("127.0.0.1:1") as caller:
        request = Request(10_000)
        gone = weakref.ref(request)
        call = caller.begin([request])
        with pytest.raises(grpc.aio.AioRpcError):
            await call.answer()
        del request
        gc.collect()
        assert gone() is None
        assert isinstance(call, Call)
