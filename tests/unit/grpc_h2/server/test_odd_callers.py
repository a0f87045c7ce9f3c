# SPDX-License-Identifier: Apache-2.0
"""Callers that no gRPC library would be: what they get, and that neither memory nor calls are left with them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_h2.http2.wire import frames
from testkit.grpc_loopback import Context, Loopback, loopback
from testkit.raw_http2 import RawCaller

PATIENCE_S = 20
PIECE_BYTES = 1 << 20
PIECE_COUNT = 64


class Service:
    """Methods that note what becomes of their calls."""

    def __init__(self) -> None:
        self.written_count = 0
        self.told = asyncio.Event()
        self.begun = asyncio.Event()

    def methods(self) -> dict[str, tuple[str, Any]]:
        return {
            "Echo": ("unary_unary", self.echo),
            "Flood": ("unary_stream", self.flood),
            "Large": ("unary_unary", self.large),
            "Hold": ("stream_unary", self.hold),
            "Drink": ("stream_unary", self.drink),
            "Hasty": ("stream_unary", self.hasty),
        }

    def _watch(self, context: Any) -> None:
        context.add_done_callback(lambda _: self.told.set())
        self.begun.set()

    async def echo(self, request: bytes, _context: Context) -> bytes:
        return bytes(request)

    async def flood(self, _request: bytes, context: Context) -> AsyncIterator[bytes]:
        self._watch(context)
        for _ in range(PIECE_COUNT):
            yield bytes(PIECE_BYTES)
            self.written_count += 1

    async def large(self, _request: bytes, context: Context) -> bytes:
        self._watch(context)
        return bytes(40 * PIECE_BYTES)  # within what answers without a permit may be

    async def hold(self, _requests: Any, context: Context) -> bytes:
        self._watch(context)
        await context.read()
        await asyncio.Event().wait()
        return b""

    async def hasty(self, _requests: Any, _context: Context) -> bytes:
        return bytes(PIECE_BYTES)

    async def drink(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        self._watch(context)
        return str(len([1 async for _ in requests])).encode()


async def honest_calls(served: Loopback) -> None:
    async with served.channel() as channel:
        for index in range(5):
            assert await channel.unary_unary("/test/Echo", bytes, bytes)(bytes(index)) == bytes(index)


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ((b":method", b"GET"), b"405"),
        ((b"content-type", b"text/html"), b"415"),
        ((b"content-type", b"application/grpc-web"), b"415"),
    ],
)
@pytest.mark.parametrize("ends", [False, True])
async def test_what_is_no_call_gets_a_status_of_http(field: tuple[bytes, bytes], status: bytes, ends: bool) -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Echo", field, ends=ends)
        if not ends:
            caller.message(1, b"a body all the same")
        assert await caller.headers() == {b":status": status}
        caller.call(3, b"/test/Echo")
        caller.message(3, b"and now a call")
        assert (await caller.headers())[b":status"] == b"200"


@pytest.mark.parametrize("field", [(b"grpc-timeout", b"soon"), (b"x-bin", b"?"), (b"x-text", b"\xff")])
async def test_headers_that_cannot_be_understood_are_an_invalid_argument(field: tuple[bytes, bytes]) -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Echo", field)
        answer = await caller.headers()
        assert (answer[b":status"], answer[b"grpc-status"]) == (b"200", b"3")


async def test_a_call_without_a_message_is_told_so() -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Echo", ends=True)
        assert (await caller.headers())[b"grpc-status"] == b"13"


async def test_a_body_that_breaks_off_is_told_so() -> None:
    async with loopback(Service().methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Echo")
        caller.send(frames.frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x09half"))
        assert (await caller.headers())[b"grpc-status"] == b"13"


@pytest.mark.slow
async def test_who_reads_nothing_is_written_little_and_the_rest_waits_for_him() -> None:
    service = Service()
    async with loopback(service.methods()) as served:
        async with RawCaller(served.address, {frames.INITIAL_WINDOW_SIZE: 2**31 - 1}) as caller:
            caller.send(frames.window_update(0, 1 << 30))
            caller.call(1, b"/test/Flood")
            caller.message(1, b"")
            await honest_calls(served)
            await honest_calls(served)
            # What the two kernels' buffers take, and the transport's; the others are not even made.
            assert service.written_count < PIECE_COUNT // 2
            received = 0
            while received < PIECE_COUNT * (PIECE_BYTES + 5):
                received += len((await caller.next_of(frames.DATA))[3])
            assert (await caller.headers())[b"grpc-status"] == b"0"
        async with asyncio.timeout(PATIENCE_S):
            await service.told.wait()


async def test_a_large_answer_is_in_progress_until_its_reader_has_taken_it() -> None:
    service = Service()
    async with loopback(service.methods()) as served:
        async with RawCaller(served.address, {frames.INITIAL_WINDOW_SIZE: 2**31 - 1}) as caller:
            caller.send(frames.window_update(0, 1 << 30))
            caller.call(1, b"/test/Large")
            caller.message(1, b"")
            await honest_calls(served)
            assert service.begun.is_set()
            assert not service.told.is_set()
        async with asyncio.timeout(PATIENCE_S):
            await service.told.wait()


@pytest.mark.parametrize("method", [b"/test/Large", b"/test/Flood"])
async def test_at_its_deadline_a_call_whose_answer_nobody_takes_is_over(method: bytes) -> None:
    service = Service()
    async with (
        loopback(service.methods()) as served,
        RawCaller(served.address, {frames.INITIAL_WINDOW_SIZE: 0}) as caller,
    ):
        caller.call(1, method, (b"grpc-timeout", b"100m"))
        caller.message(1, b"")
        assert await caller.next_of(frames.RST_STREAM) == (frames.RST_STREAM, 0, 1, bytes(3) + b"\x08")
        async with asyncio.timeout(PATIENCE_S):
            await service.told.wait()


async def test_of_a_request_that_nobody_read_nothing_is_kept_while_its_answer_waits() -> None:
    async with (
        loopback(Service().methods()) as served,
        RawCaller(served.address, {frames.INITIAL_WINDOW_SIZE: 0}) as caller,
    ):
        caller.call(1, b"/test/Hasty")
        caller.message(1, b"before the answer", ends=False)
        await caller.headers()
        caller.send(frames.frame(frames.DATA, 0, 1, b"after it") + frames.frame(frames.PING, 0, 0, bytes(8)))
        await caller.next_of(frames.PING)
        (call,) = served.server._calls._open
        assert not len(call.inbox._early)


@pytest.mark.parametrize("end", [RawCaller.cut, RawCaller.half_close])
async def test_a_connection_that_is_gone_takes_its_calls_with_it(end: Any) -> None:
    service = Service()
    async with loopback(service.methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Hold")
        caller.message(1, b"x", ends=False)
        async with asyncio.timeout(PATIENCE_S):
            await service.begun.wait()
            end(caller)
            await service.told.wait()


async def test_thousands_of_tiny_messages_cost_few_frames_of_leave() -> None:
    service = Service()
    async with loopback(service.methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Drink")
        for _ in range(5000):
            caller.message(1, b"", ends=False)
        caller.send(frames.frame(frames.DATA, frames.END_STREAM, 1))
        kinds = []
        while (found := await caller.frame())[:2] != (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM):
            kinds.append(found[0])
            if found[0] == frames.DATA:
                assert found[3][5:] == b"5000"
        assert kinds.count(frames.WINDOW_UPDATE) <= 3


async def test_after_a_fault_the_others_are_served_and_the_peer_is_told() -> None:
    service = Service()
    async with loopback(service.methods()) as served, RawCaller(served.address) as caller:
        caller.call(1, b"/test/Hold")
        async with asyncio.timeout(PATIENCE_S):
            await service.begun.wait()
        caller.send(frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(4)))
        _, _, _, payload = await caller.next_of(frames.GOAWAY)
        assert int.from_bytes(payload[4:8], "big") == frames.PROTOCOL_ERROR
        assert await caller.closed() == b""
        await honest_calls(served)


async def test_a_slow_client_of_grpcs_gets_a_large_stream_whole() -> None:
    service = Service()
    async with loopback(service.methods()) as served, served.channel() as channel:
        call = channel.unary_stream("/test/Flood", bytes, bytes)(b"")
        sizes = []
        async for piece in call:
            sizes.append(len(piece))
            if len(sizes) == 1:
                await honest_calls(served)
    assert sizes == [PIECE_BYTES] * PIECE_COUNT
