# SPDX-License-Identifier: Apache-2.0
"""However a call ends, its handler ends with it, who waits for the end is told once, and nothing of it stays."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from testkit.grpc_loopback import Context, Loopback, loopback, make_server

PATIENCE_S = 10


class Held:
    """A handler that waits for ever, and what it has seen of its call's end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.done: list[tuple[bool, Any]] = []
        self.told = asyncio.Event()

    async def __call__(self, _requests: Any, context: Context) -> bytes:
        context.add_done_callback(self._note)
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a clean-up may take its turns
            self.cancelled.set()
        return b""

    def _note(self, context: Any) -> None:
        assert self.cancelled.is_set()
        self.done.append((context.cancelled(), context.code()))
        self.told.set()


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_caller_who_gives_up_ends_the_handler() -> None:
    held = Held()
    async with loopback({"Hold": ("stream_unary", held)}) as served, served.channel() as channel:
        call = channel.unary_unary("/test/Hold", bytes, bytes)(b"x")
        async with asyncio.timeout(PATIENCE_S):
            await held.begun.wait()
            call.cancel()
            await held.told.wait()
    assert held.done == [(True, grpc.StatusCode.OK)]


@pytest.mark.slow
async def test_at_the_deadline_the_handler_ends_and_the_status_says_so() -> None:
    held = Held()
    async with loopback({"Hold": ("stream_unary", held)}) as served, served.channel() as channel:
        assert await code_of(channel.unary_unary("/test/Hold", bytes, bytes)(b"x", timeout=0.5)) is (
            grpc.StatusCode.DEADLINE_EXCEEDED
        )
        async with asyncio.timeout(PATIENCE_S):
            await held.told.wait()
    assert len(held.done) == 1


async def test_the_time_that_is_left_is_known() -> None:
    seen: list[float | None] = []

    async def look(_request: bytes, context: Context) -> bytes:
        seen.append(context.time_remaining())
        return b""

    async with loopback({"Look": ("unary_unary", look)}) as served, served.channel() as channel:
        await channel.unary_unary("/test/Look", bytes, bytes)(b"", timeout=50)
        await channel.unary_unary("/test/Look", bytes, bytes)(b"")
    first, second = seen
    assert first is not None
    assert 40 < first < 51  # clients round up
    assert second is None


async def test_an_answered_call_was_not_cancelled() -> None:
    seen: list[tuple[bool, bool]] = []

    async def answer(_request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda done: seen.append((done.cancelled(), done.done())))
        return b""

    async with loopback({"Answer": ("unary_unary", answer)}) as served, served.channel() as channel:
        await channel.unary_unary("/test/Answer", bytes, bytes)(b"")
    assert seen == [(False, True)]


async def test_a_generator_that_its_caller_left_is_closed_within_the_call() -> None:
    seen: list[str] = []
    told = asyncio.Event()

    async def answers(_request: bytes, context: Any) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda _: seen.append("done"))
        context.add_done_callback(lambda _: told.set())
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            seen.append("closed")

    async with loopback({"Answers": ("unary_stream", answers)}) as served, served.channel() as channel:
        call = channel.unary_stream("/test/Answers", bytes, bytes)(b"")
        await call.read()
        call.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await told.wait()
    assert seen == ["closed", "done"]


async def test_a_callback_that_fails_keeps_no_other_from_being_told() -> None:
    seen: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: seen.append(about["message"]))

    async def answer(_request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda _: 1 / 0)
        context.add_done_callback(lambda _: seen.append("told"))
        return b"answer"

    async with loopback({"Answer": ("unary_unary", answer)}) as served, served.channel() as channel:
        assert await channel.unary_unary("/test/Answer", bytes, bytes)(b"") == b"answer"
    assert seen == ["a callback of a call failed", "told"]


async def test_a_message_that_cannot_be_parsed_ends_the_call_and_the_handlers_cleanup_is_left_alone() -> None:
    seen: list[str] = []

    async def take(_requests: Any, context: Context) -> bytes:
        try:
            await context.read()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")
        return b""

    def parsed(_data: bytes) -> bytes:
        raise ValueError("no such message")

    server = make_server({})
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(take, parsed)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Take": handler}),))
    port = server.listen("127.0.0.1:0")
    await server.start()
    async with Loopback(server, f"127.0.0.1:{port}").channel() as channel:
        assert await code_of(channel.unary_unary("/test/Take", bytes, bytes)(b"x")) is grpc.StatusCode.INTERNAL
    await server.stop()
    assert seen == ["cleaned up"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["answer", "abort", "fail", "cancel", "deadline"])
async def test_nothing_of_a_request_is_referenced_once_its_call_has_ended(ending: str) -> None:
    class Message(bytearray):
        """Can be watched."""

    watched: list[weakref.ref[Message]] = []
    told, begun = asyncio.Event(), asyncio.Event()

    async def serve(requests: AsyncIterator[Message], context: Any) -> bytes:
        context.add_done_callback(lambda _: told.set())
        message = await anext(requests)
        watched.append(weakref.ref(message))
        begun.set()
        if ending == "abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no")
        if ending == "fail":
            raise ValueError(ending)
        if ending in ("cancel", "deadline"):
            await asyncio.Event().wait()
        return b""

    server = make_server({})
    handler: grpc.RpcMethodHandler[Message, bytes] = grpc.stream_unary_rpc_method_handler(serve, Message)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Serve": handler}),))
    port = server.listen("127.0.0.1:0")
    await server.start()
    gc.collect()
    gc.disable()
    try:
        async with Loopback(server, f"127.0.0.1:{port}").channel() as channel:
            call = channel.unary_unary("/test/Serve", bytes, bytes)(
                b"photo" * 1000, timeout=0.5 if ending == "deadline" else 60
            )
            async with asyncio.timeout(PATIENCE_S):
                await begun.wait()
                if ending == "cancel":
                    call.cancel()
                await told.wait()
                await asyncio.sleep(0)
            assert watched[0]() is None
            call.cancel()
    finally:
        gc.enable()
        await server.stop()


@pytest.mark.slow
async def test_stop_waits_for_calls_as_long_as_it_was_told_and_then_ends_them() -> None:
    held, quick = Held(), asyncio.Event()

    async def wait(_request: bytes, _context: Context) -> bytes:
        quick.set()
        await stopping.wait()
        return b"in time"

    stopping = asyncio.Event()
    methods: dict[str, tuple[str, Any]] = {"Hold": ("stream_unary", held), "Wait": ("unary_unary", wait)}
    server = make_server(methods)
    port = server.listen("127.0.0.1:0")
    await server.start()
    async with Loopback(server, f"127.0.0.1:{port}").channel() as channel, asyncio.timeout(PATIENCE_S):
        in_time = asyncio.ensure_future(channel.unary_unary("/test/Wait", bytes, bytes)(b"x"))
        too_late = asyncio.ensure_future(code_of(channel.unary_unary("/test/Hold", bytes, bytes)(b"x")))
        await held.begun.wait()
        await quick.wait()
        stop = asyncio.ensure_future(server.stop(0.6))
        stopping.set()
        assert await in_time == b"in time"
        await stop
        assert await too_late in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert held.cancelled.is_set()
    assert repr(server) == "<GrpcServer of 0 connections, 0 calls>"
