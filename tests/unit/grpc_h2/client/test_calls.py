# SPDX-License-Identifier: Apache-2.0
"""Calls that succeed, and refusals in the server's own words: with gRPC's server, and with ours."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_h2.buffers import Buffer
from testkit.grpc_loopback import loopback
from testkit.grpc_servers import MAX_MESSAGE_BYTES, caller_of, grpc_server
from testkit.long_runs import short_or_long

PATIENCE_S = 20.0
# Larger than any window.
BODY = bytes(range(256)) * short_or_long(16 << 10, 64 << 10)


async def echo(request: bytes, _context: Any) -> bytes:
    return bytes(request)


async def grow(request: bytes, _context: Any) -> bytes:
    return bytes(int(request))


async def refuse(request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, bytes(request).decode())
    return b""


async def who(_request: bytes, context: Any) -> bytes:
    return str(context.peer()).encode()


METHODS = {"Echo": echo, "Grow": grow, "Refuse": refuse, "Who": who}


@pytest.fixture(params=["grpc.aio", "ours"])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if request.param == "grpc.aio":
        async with grpc_server(METHODS) as address:
            yield f"ipv4:{address}"
    else:
        async with loopback({name: ("unary_unary", serve) for name, serve in METHODS.items()}) as served:
            yield f"ipv4:{served.address}"


@pytest.mark.parametrize("message", [b"", b"x", b"small" * 60, bytearray(b"y" * 20_000)])
async def test_a_message_goes_there_and_back(target: str, message: bytes) -> None:
    async with caller_of(target) as caller:
        for _ in range(3):
            assert await caller.call(message, PATIENCE_S) == message


@pytest.mark.slow
async def test_large_messages_go_both_ways_and_pieces_arrive_joined(target: str) -> None:
    pieces: list[Buffer] = [b"head", memoryview(BODY), b"", b"between", BODY, b"tail"]
    async with caller_of(target) as caller:
        assert await caller.call(pieces, PATIENCE_S) == b"".join(pieces)
        assert await caller.call(pieces[:2]) == b"head" + BODY


@pytest.mark.slow
async def test_what_a_piece_looks_at_may_be_released_while_the_call_waits_for_its_connection(target: str) -> None:
    view = memoryview(BODY)
    async with caller_of(target) as caller:
        call = caller.begin([view])
        view.release()
        assert await call.answer() == BODY


@pytest.mark.slow
async def test_many_calls_share_one_connection_and_each_gets_its_own_answer(target: str) -> None:
    async with caller_of(target) as caller, caller_of(target, "Who") as asking:
        messages = [bytes([i]) * (1 + 3000 * i) for i in range(100)]
        assert await asyncio.gather(*(caller.call(message, PATIENCE_S) for message in messages)) == messages
        assert len(set(map(bytes, await asyncio.gather(*(asking.call(b"") for _ in range(20)))))) == 1


async def test_an_answer_may_be_as_large_as_the_limit_and_no_larger(target: str) -> None:
    async with caller_of(target, "Grow", max_message_bytes=1000) as caller:
        assert len(await caller.call(b"1000")) == 1000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.call(b"1001")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == "CLIENT: Received message larger than max (1001 vs. 1000)"
        assert len(await caller.call(b"999")) == 999


async def test_a_request_that_is_larger_than_the_limit_is_not_sent() -> None:
    async with caller_of("127.0.0.1:1") as caller:  # where nobody is
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.call([bytes(MAX_MESSAGE_BYTES), b"x"])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("text", ["", "plain", "100 % größer\nals ⁒"])
async def test_a_refusal_is_raised_with_the_servers_words(target: str, text: str) -> None:
    async with caller_of(target, "Refuse") as caller:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await caller.call(text.encode(), PATIENCE_S)
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)


async def test_a_method_that_is_not_there_is_unimplemented(target: str) -> None:
    async with caller_of(target, "Other") as caller:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.call(BODY)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("slashes", ["", "//"])
async def test_a_socket_of_the_file_system_is_called(tmp_path: Path, slashes: str) -> None:
    async with grpc_server(METHODS, address=f"unix:{tmp_path}/s"), caller_of(f"unix:{slashes}{tmp_path}/s") as caller:
        assert await caller.call(b"x", PATIENCE_S) == b"x"


@pytest.mark.parametrize(
    ("address", "target"), [("[::1]", "ipv6:[::1]"), ("[::1]", "[::1]"), ("127.0.0.1", "localhost")]
)
async def test_ipv6_and_names_are_called(address: str, target: str) -> None:
    async with (
        grpc_server(METHODS, address=f"{address}:0") as served,
        caller_of(f"{target}:{served.rpartition(':')[2]}") as caller,
    ):
        assert await caller.call(b"x", PATIENCE_S) == b"x"
