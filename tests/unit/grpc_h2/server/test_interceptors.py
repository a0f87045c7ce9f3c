# SPDX-License-Identifier: Apache-2.0
"""Interceptors wrap handlers as grpc.aio's do, the first outermost, and are asked once for each method."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from testkit.grpc_loopback import Context, loopback


async def echo(request: bytes, _context: Context) -> bytes:
    return bytes(request)


class Marking(grpc.aio.ServerInterceptor):
    """Puts its mark around what the handler answers; knows nothing of methods that nobody has."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self.asked: list[str] = []

    async def intercept_service(
        self, continuation: Callable[..., Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        self.asked.append(handler_call_details.method)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None

        async def serve(request: bytes, context: Context) -> bytes:
            answer: bytes = await handler.unary_unary(request, context)
            return self._mark + answer + self._mark

        return grpc.unary_unary_rpc_method_handler(serve)


async def test_the_first_is_outermost_and_each_is_asked_once_for_a_method() -> None:
    outer, inner = Marking(b"a"), Marking(b"b")
    methods: dict[str, tuple[str, Any]] = {"Echo": ("unary_unary", echo), "Other": ("unary_unary", echo)}
    async with loopback(methods, interceptors=(outer, inner)) as served, served.channel() as channel:
        for _ in range(3):
            assert await channel.unary_unary("/test/Echo", bytes, bytes)(b"x") == b"abxba"
        assert await channel.unary_unary("/test/Other", bytes, bytes)(b"y") == b"abyba"
    assert outer.asked == inner.asked == ["/test/Echo", "/test/Other"]


async def test_names_that_callers_make_up_are_not_remembered() -> None:
    marking = Marking(b"a")
    async with loopback({}, interceptors=(marking,)) as served, served.channel() as channel:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError, match="Method not found"):
                await channel.unary_unary("/made/Up", bytes, bytes)(b"")
        assert not served.server._calls.dispatch._found
    assert marking.asked == ["/made/Up"] * 2
