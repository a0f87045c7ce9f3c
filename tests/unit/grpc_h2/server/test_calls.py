# SPDX-License-Identifier: Apache-2.0
"""Calls of real clients: messages, metadata and statuses arrive as they were sent, in both directions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from testkit.grpc_loopback import CHANNEL_OPTIONS, MAX_MESSAGE_BYTES, Context, loopback

Requests = AsyncIterator[bytes]


async def echo(request: bytes, _context: Context) -> bytes:
    return bytes(request)


async def count(requests: Requests, _context: Context) -> bytes:
    return str([len(request) async for request in requests]).encode()


async def take_one(_requests: Requests, context: Context) -> bytes:
    message = await context.read(MAX_MESSAGE_BYTES)
    return str(len(message)).encode()


async def repeat(request: bytes, _context: Context) -> AsyncIterator[bytes]:
    for _ in range(3):
        yield bytes(request)


async def echo_each(requests: Requests, _context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield bytes(request)


async def write_each(_requests: Requests, context: Context) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(bytes(message))


# What a handler that names no limit reads is bounded for all calls together.
UNPERMITTED_BYTES = 32 << 20

METHODS: dict[str, tuple[str, Any]] = {
    "Echo": ("unary_unary", echo),
    "Count": ("stream_unary", count),
    "TakeOne": ("stream_unary", take_one),
    "Repeat": ("unary_stream", repeat),
    "EchoEach": ("stream_stream", echo_each),
    "WriteEach": ("stream_stream", write_each),
}
SOME = [b"", b"a", b"bc" * 50_000, b""]


async def test_the_four_kinds_of_methods() -> None:
    async with loopback(METHODS) as served, served.channel() as channel:
        assert await channel.unary_unary("/test/Echo", bytes, bytes)(b"one") == b"one"
        assert await channel.stream_unary("/test/Count", bytes, bytes)(iter(SOME)) == b"[0, 1, 100000, 0]"
        assert [answer async for answer in channel.unary_stream("/test/Repeat", bytes, bytes)(b"x")] == [b"x"] * 3
        for method in ("/test/EchoEach", "/test/WriteEach"):
            assert [answer async for answer in channel.stream_stream(method, bytes, bytes)(iter(SOME))] == SOME


async def test_a_sync_client_is_served_too() -> None:
    async with loopback(METHODS) as served:

        def call() -> tuple[bytes, list[bytes]]:
            with grpc.insecure_channel(served.address, options=CHANNEL_OPTIONS) as channel:
                one = channel.unary_unary("/test/Echo", bytes, bytes)(b"one")
                return one, list(channel.stream_stream("/test/EchoEach", bytes, bytes)(iter(SOME)))

        assert await asyncio.to_thread(call) == (b"one", SOME)


async def test_a_conversation_takes_turns() -> None:
    async with loopback(METHODS) as served, served.channel() as channel:
        call = channel.stream_stream("/test/WriteEach", bytes, bytes)()
        for index in range(20):
            await call.write(str(index).encode())
            assert await call.read() == str(index).encode()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 65_530, 65_535, 1 << 20, 64 << 20])
async def test_messages_of_any_size_go_there_and_back(size: int) -> None:
    message = bytes(bytearray(range(256))) * (size // 256 + 1)
    message = message[:size]
    async with loopback(METHODS) as served, served.channel() as channel:
        if size <= UNPERMITTED_BYTES:
            assert await channel.unary_unary("/test/Echo", bytes, bytes)(message) == message
        assert await channel.unary_unary("/test/TakeOne", bytes, bytes)(message) == str(size).encode()


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read(compression: grpc.Compression) -> None:
    async with loopback(METHODS) as served, served.channel(compression=compression) as channel:
        assert await channel.unary_unary("/test/Echo", bytes, bytes)(b"squeeze " * 10_000) == b"squeeze " * 10_000
        assert await channel.stream_unary("/test/Count", bytes, bytes)(iter(SOME)) == b"[0, 1, 100000, 0]"


@pytest.mark.slow
async def test_many_calls_at_once_get_their_own_answers() -> None:
    async with loopback(METHODS) as served, served.channel() as channel:
        method = channel.unary_unary("/test/Echo", bytes, bytes)
        bodies = [str(index).encode() * (index * 50) for index in range(300)]
        assert await asyncio.gather(*(method(body) for body in bodies)) == bodies


async def test_metadata_travel_both_ways() -> None:
    seen: list[Any] = []

    async def answer(_request: bytes, context: Context) -> bytes:
        seen.extend(context.invocation_metadata() or ())
        context.set_initial_metadata((("x-first", "1"), ("x-first-bin", b"\0\xff")))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\xff\0\x01")))
        return b""

    sent = (("x-text", "plain"), ("x-data-bin", b"\0\x01\xfe"), ("x-text", "again"))
    async with loopback({"Answer": ("unary_unary", answer)}) as served, served.channel() as channel:
        call = channel.unary_unary("/test/Answer", bytes, bytes)(b"", metadata=sent)
        await call
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
    assert sorted(pair for pair in seen if pair[0].startswith("x-")) == sorted(sent)
    assert {"te", "content-type", "grpc-accept-encoding", ":path"}.isdisjoint(key for key, _ in seen)
    assert dict(initial or ()) == {"x-first": "1", "x-first-bin": b"\0\xff"}
    assert dict(trailing or ()) == {"x-last": "2", "x-last-bin": b"\xff\0\x01"}


async def failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_statuses_arrive_with_details_and_metadata() -> None:
    text = "100 % of it was wrong:\n\u00fcber\U0001f600"

    async def abort(_request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text, (("x-why-bin", b"\0"),))

    async def break_down(_request: bytes, _context: Context) -> bytes:
        raise ValueError("a secret")

    async def bad_metadata(_request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata((("x-text", "not \u00e4scii"),))
        return b""

    methods = {"Abort": abort, "BreakDown": break_down, "BadMetadata": bad_metadata}
    async with (
        loopback({name: ("unary_unary", serve) for name, serve in methods.items()}) as served,
        served.channel() as channel,
    ):
        error = await failed(channel.unary_unary("/test/Abort", bytes, bytes)(b""))
        assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, text)
        assert dict(error.trailing_metadata()) == {"x-why-bin": b"\0"}
        error = await failed(channel.unary_unary("/test/BreakDown", bytes, bytes)(b""))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, "The call failed.")
        error = await failed(channel.unary_unary("/test/BadMetadata", bytes, bytes)(b""))
        assert error.code() is grpc.StatusCode.UNKNOWN


async def test_methods_that_nobody_has_are_unimplemented() -> None:
    async with loopback(METHODS) as served, served.channel() as channel:
        for method in ("/test/Nothing", "/other/Echo", "/"):
            assert (
                await failed(channel.unary_unary(method, bytes, bytes)(b"x"))
            ).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_messages_over_the_limit_are_refused_and_the_next_call_is_served() -> None:
    async with loopback(METHODS, max_message_bytes=1000) as served, served.channel() as channel:
        error = await failed(channel.unary_unary("/test/Echo", bytes, bytes)(bytes(1001)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await channel.unary_unary("/test/Echo", bytes, bytes)(bytes(1000)) == bytes(1000)


async def test_bombs_are_refused_before_they_are_unpacked() -> None:
    async with (
        loopback(METHODS, max_message_bytes=100_000) as served,
        served.channel(compression=grpc.Compression.Gzip) as channel,
    ):
        error = await failed(channel.unary_unary("/test/TakeOne", bytes, bytes)(bytes(10 << 20)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_over_the_limit_are_refused_alone() -> None:
    async with loopback(METHODS) as served, served.channel() as channel:
        metadata = tuple((f"x-{index}", "v" * 100) for index in range(150))
        error = await failed(channel.unary_unary("/test/Echo", bytes, bytes)(b"", metadata=metadata))
        assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert await channel.unary_unary("/test/Echo", bytes, bytes)(b"x") == b"x"


async def test_the_network_of_a_peer_is_asked_for_once_for_each_connection_and_known_of_each_call() -> None:
    asked: list[str] = []

    def network_of(peer: str) -> str:
        asked.append(peer)
        return "192.0.2.0/24"

    async def tell(_request: bytes, context: Any) -> bytes:
        return str(context.network).encode()

    async with loopback({"Tell": ("unary_unary", tell)}, network_of=network_of) as served, served.channel() as channel:
        for _ in range(2):
            assert await channel.unary_unary("/test/Tell", bytes, bytes)(b"") == b"192.0.2.0/24"
    assert len(asked) == 1
    assert asked[0].startswith("ipv4:127.0.0.1:")
