# SPDX-License-Identifier: Apache-2.0
"""An error before the first message is one block that ends the stream; then gRPC tries again where told to."""

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_h2.http2.wire import frames
from grpc_h2.server.bare_call import BareCall
from testkit.grpc_loopback import CHANNEL_OPTIONS, Context, Loopback, loopback
from testkit.raw_http2 import RawCaller

ATTEMPT_COUNT = 4
CODES = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
ONE_BLOCK = frames.END_HEADERS | frames.END_STREAM


def nothing() -> None:
    """Do nothing where the caller gives up."""


class Refusing:
    """Methods that fail in every way there is, and the count of their calls."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self._code = code
        self.call_count = 0

    def methods(self) -> dict[str, tuple[str, Any]]:
        return {
            "Abort": ("unary_unary", self.abort),
            "Unread": ("stream_unary", self.abort),
            "Stream": ("stream_stream", self.stream),
            "Named": ("unary_unary", self.named),
            "Late": ("unary_stream", self.late),
        }

    def bare(self) -> dict[str, Any]:
        return {"Bare": self.refuse}

    def refuse(self, call: BareCall) -> None:
        self.call_count += 1
        call.begin_without_task(nothing)
        call.set_trailing_metadata((("x-receipt", "1"),))
        call.refuse(self._code, "not now")
        call.let_go()

    async def abort(self, _request: Any, context: Context) -> bytes:
        self.call_count += 1
        await context.abort(self._code, "not now", (("x-receipt", "1"),))

    async def stream(self, _requests: Any, context: Any) -> AsyncIterator[bytes]:
        self.call_count += 1
        context.set_initial_metadata((("x-request-id", "me"),))
        await context.abort(self._code, "not now", (("x-receipt", "1"), ("x-request-id", "me")))
        yield b"never"

    async def named(self, request: bytes, context: Any) -> bytes:
        context.set_initial_metadata((("x-request-id", "me"), ("x-other", "2")))
        context.set_trailing_metadata((("x-request-id", "me"),))
        if not request:
            await context.abort(self._code, "not now")
        return b"answer"

    async def late(self, _request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(self._code, "not now")


async def blocks_of(served: Loopback, path: bytes, message: bytes = b"") -> list[tuple[int, dict[bytes, bytes]]]:
    """Return flags and fields of each header block that answers a call."""
    found: list[tuple[int, dict[bytes, bytes]]] = []
    async with RawCaller(served.address) as caller:
        caller.call(1, path)
        caller.message(1, message)
        while not found or not found[-1][0] & frames.END_STREAM:
            _, flags, _, block = await caller.next_of(frames.HEADERS)
            found.append((flags, dict(caller.decode(block))))
    return found


@pytest.mark.parametrize("path", [b"/test/Abort", b"/test/Unread", b"/test/Stream", b"/test/Bare"])
async def test_an_error_before_the_first_message_is_one_block(path: bytes) -> None:
    refusing = Refusing()
    async with loopback(refusing.methods(), bare=refusing.bare()) as served:
        ((flags, fields),) = await blocks_of(served, path)
    assert flags == ONE_BLOCK
    assert fields.items() >= {
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"14"),
        (b"grpc-message", b"not now"),
        (b"x-receipt", b"1"),
    }


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (b"/test/Nothing", (), b"12"),
        (b"/test/Abort", ((b"grpc-timeout", b"soon"),), b"3"),
        (b"/test/Abort", ((b"x-large", b"v" * 17_000),), b"8"),
        (b"/test/Abort", ((b"grpc-timeout", b"0n"),), b"4"),
        (b"/test/Abort", ((b"grpc-timeout", b"1n"),), b"4"),
        (b"/test/Abort", ((b"grpc-timeout", b"0S"),), b"4"),
        (b"/test/Bare", ((b"grpc-timeout", b"0m"),), b"4"),
    ],
)
async def test_calls_that_are_not_begun_are_answered_by_one_block(
    path: bytes, fields: tuple[tuple[bytes, bytes], ...], status: bytes
) -> None:
    refusing = Refusing()
    async with (
        loopback(refusing.methods(), bare=refusing.bare()) as served,
        RawCaller(served.address) as caller,
    ):
        caller.call(1, path, *fields)
        _, flags, _, block = await caller.next_of(frames.HEADERS)
    assert flags == ONE_BLOCK
    assert dict(caller.decode(block))[b"grpc-status"] == status
    assert refusing.call_count == 0


async def test_what_goes_with_headers_goes_with_the_status_where_no_message_does_and_is_told_once() -> None:
    async with loopback(Refusing().methods()) as served:
        headers, trailers = await blocks_of(served, b"/test/Named", b"x")
        (only,) = await blocks_of(served, b"/test/Named")
        async with RawCaller(served.address) as caller:
            caller.call(1, b"/test/Named", ends=False)
            caller.message(1, b"")
            _, _, _, block = await caller.next_of(frames.HEADERS)
    assert (headers[1][b"x-request-id"], headers[1][b"x-other"]) == (b"me", b"2")
    assert trailers[1][b"x-request-id"] == b"me"
    assert (only[1][b"x-request-id"], only[1][b"x-other"]) == (b"me", b"2")
    assert [name for name, _ in caller.decode(block)].count(b"x-request-id") == 1


async def test_what_was_sent_before_an_error_stays_sent() -> None:
    async with loopback(Refusing().methods()) as served:
        headers, trailers = await blocks_of(served, b"/test/Late")
    assert b"grpc-status" not in headers[1]
    assert trailers[1] == {b"grpc-status": b"14", b"grpc-message": b"not now"}


def retrying(code: grpc.StatusCode) -> tuple[str, str]:
    policy = {
        "maxAttempts": ATTEMPT_COUNT,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.02s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": [code.name],
    }
    return "grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("method", ["Abort", "Bare"])
async def test_grpcs_own_retries_are_made_as_often_as_its_policy_says(code: grpc.StatusCode, method: str) -> None:
    refusing = Refusing(code)
    options = (retrying(code), *CHANNEL_OPTIONS)
    async with (
        loopback(refusing.methods(), bare=refusing.bare()) as served,
        grpc.aio.insecure_channel(served.address, options=options) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/test/{method}", bytes, bytes)(b"x")
    assert caught.value.code() is code
    assert dict(caught.value.trailing_metadata())["x-receipt"] == "1"
    assert refusing.call_count == ATTEMPT_COUNT
