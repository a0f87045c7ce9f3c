# SPDX-License-Identifier: Apache-2.0
"""Methods that no task serves: answered, refused, given up, and never left half done."""

import asyncio
from collections.abc import Awaitable

import grpc
import pytest
from grpc_h2.bodies.messages import MessageFault, MessageTooLongError
from grpc_h2.server.bare_call import BareCall
from testkit.grpc_loopback import loopback

PATIENCE_S = 10
MOST_BYTES = 4 << 20


class Echo:
    """Answers each call with its message, in pieces that are overwritten as soon as they are handed over."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self.stopped_count = 0
        self.ended = asyncio.Event()

    def serve(self, call: BareCall) -> None:
        def stop() -> None:
            self.stopped_count += 1
            call.let_go()
            self.ended.set()

        def came() -> None:
            if call.done():
                return
            try:
                message = call.received()
            except MessageTooLongError:
                call.refuse(grpc.StatusCode.INVALID_ARGUMENT, "too long")
            except MessageFault:
                pass
            else:
                copy = bytearray(message or b"none")
                half = len(copy) // 2
                call.answer([memoryview(copy)[:half], memoryview(copy)[half:]], borrowed=True)
                copy[:] = bytes(len(copy))
            call.let_go()

        call.begin_without_task(stop)
        call.expect(self._most_bytes, came)


class Silence:
    """Never looks at its calls."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.stopped = asyncio.Event()
        self.stop_count = 0

    def serve(self, call: BareCall) -> None:
        def stop() -> None:
            call.let_go()
            self.stop_count += 1
            self.stopped.set()

        call.begin_without_task(stop)
        self.begun.set()


async def status_of(call: Awaitable[bytes]) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("size", [1, 100, 16_384, 65_530, 65_536, 300_000, 1 << 20, 3 << 20])
async def test_messages_of_any_size_are_answered_again_and_again(size: int) -> None:
    async with loopback({}, bare={"Echo": Echo().serve}) as served, served.channel() as channel:
        for value in (b"a", b"b", b"c"):
            assert await channel.unary_unary("/test/Echo", bytes, bytes)(value * size) == value * size


async def test_many_calls_at_once_get_their_own_answers() -> None:
    async with loopback({}, bare={"Echo": Echo().serve}) as served, served.channel() as channel:
        echo = channel.unary_unary("/test/Echo", bytes, bytes)
        messages = [bytes([index]) * (1000 * index) for index in range(100)]
        answers = await asyncio.gather(*(echo(message) for message in messages))
        assert answers == [message or b"none" for message in messages]


async def test_a_message_that_is_too_long_is_refused_and_the_next_is_answered() -> None:
    async with loopback({}, bare={"Echo": Echo(most_bytes=1000).serve}) as served, served.channel() as channel:
        echo = channel.unary_unary("/test/Echo", bytes, bytes)
        assert await status_of(echo(bytes(1001))) == (grpc.StatusCode.INVALID_ARGUMENT, "too long")
        assert await echo(b"x" * 1000) == b"x" * 1000


async def test_who_gives_up_is_told_of_once_and_nothing_is_left() -> None:
    silence = Silence()
    async with loopback({}, bare={"Hold": silence.serve}) as served, served.channel() as channel:
        call = channel.unary_unary("/test/Hold", bytes, bytes)(b"x")
        async with asyncio.timeout(PATIENCE_S):
            await silence.begun.wait()
            call.cancel()
            await silence.stopped.wait()
    assert silence.stop_count == 1


async def test_at_the_deadline_the_call_is_ended() -> None:
    silence = Silence()
    async with loopback({}, bare={"Hold": silence.serve}) as served, served.channel() as channel:
        code, _ = await status_of(channel.unary_unary("/test/Hold", bytes, bytes)(b"x", timeout=0.1))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(PATIENCE_S):
            await silence.stopped.wait()


async def test_who_sends_far_ahead_without_being_let_in_is_refused_where_many_do() -> None:
    silence = Silence()
    async with loopback({}, bare={"Echo": Echo().serve, "Hold": silence.serve}) as served, served.channel() as channel:
        served.server._windows._crowded_bytes = 50_000
        served.server._windows._unadmitted._most_bytes = 100_000
        assert (
            len(await channel.unary_unary("/test/Echo", bytes, bytes)(bytes(300_000))) == 300_000
        )  # its window is large now
        call = channel.unary_unary("/test/Hold", bytes, bytes)(bytes(1 << 20))
        code, text = await status_of(call)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "before there was memory for it" in (text or "")
        await silence.stopped.wait()
        assert repr(served.server._windows) == "<Windows: 0 large, <Unadmitted: 0 bytes of 0 calls>>"
        assert len(await channel.unary_unary("/test/Echo", bytes, bytes)(bytes(300_000))) == 300_000


@pytest.mark.parametrize("method", ["Hold", "Task"])
async def test_a_call_whose_metadata_are_too_much_to_hold_is_refused_and_its_connection_goes_on(method: str) -> None:
    silence = Silence()

    async def task(request: bytes, _context: object) -> bytes:
        return request

    async with (
        loopback({"Task": ("unary_unary", task)}, bare={"Echo": Echo().serve, "Hold": silence.serve}) as served,
        served.channel() as channel,
    ):
        served.server._windows._unadmitted._most_bytes = 1000
        large = (("x-large", "v" * 10_000),)
        code, text = await status_of(channel.unary_unary(f"/test/{method}", bytes, bytes)(b"x", metadata=large))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "before there was memory for it" in (text or "")
        if method == "Hold":
            await silence.stopped.wait()
        assert await channel.unary_unary("/test/Echo", bytes, bytes)(b"x") == b"x"
        assert served.server.connection_count == 1
        assert repr(served.server._windows) == "<Windows: 0 large, <Unadmitted: 0 bytes of 0 calls>>"
