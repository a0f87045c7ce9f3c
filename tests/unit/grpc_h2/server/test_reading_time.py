# SPDX-License-Identifier: Apache-2.0
"""An answer is there for a bounded time: who does not read it by then is cut off, whatever it said of deadlines."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_h2.http2.wire import frames
from grpc_h2.server.bare_call import BareCall
from grpc_h2.server.reading_time import ReadingTime
from testkit.grpc_loopback import Context, loopback
from testkit.raw_http2 import RawCaller

PATIENCE_S = 10
SOON = ReadingTime(without_deadline_s=0.1, longest_s=60.0)
CANCEL = bytes(3) + bytes([frames.CANCEL])


@pytest.mark.parametrize(("deadline_s", "until_s"), [(None, 130.0), (110.0, 110.0), (150.0, 150.0), (1000.0, 220.0)])
def test_it_is_over_at_the_deadline_or_the_default_one_and_never_later_than_the_longest(
    deadline_s: float | None, until_s: float
) -> None:
    assert ReadingTime(without_deadline_s=30.0, longest_s=120.0).until_s(100.0, deadline_s) == until_s


class Served:
    """Methods that answer 100,000 bytes, and what is told of the ends of their calls."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def answer(self, _request: bytes, context: Context) -> bytes:
        context.add_done_callback(lambda _: self.told.set())
        return bytes(100_000)

    async def answers(self, _request: bytes, context: Context) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda _: self.told.set())
        yield bytes(100_000)
        yield b"never reached"

    def bare(self, call: BareCall) -> None:
        call.add_done_callback(lambda _: self.told.set())

        def came() -> None:
            call.received()
            call.answer([bytes(100_000)], borrowed=True)
            call.let_go()

        call.begin_without_task(call.let_go)
        call.expect(100, came)

    def options(self) -> dict[str, Any]:
        return {"bare": {"Bare": self.bare}, "reading": SOON}

    def methods(self) -> dict[str, tuple[str, Any]]:
        return {"Answer": ("unary_unary", self.answer), "Answers": ("unary_stream", self.answers)}


@pytest.mark.parametrize("window_bytes", [0, 5000])
@pytest.mark.parametrize("method", [b"/test/Answer", b"/test/Answers", b"/test/Bare"])
async def test_who_does_not_read_is_cut_off_without_having_set_a_deadline(method: bytes, window_bytes: int) -> None:
    service = Served()
    async with (
        loopback(service.methods(), **service.options()) as served,
        RawCaller(served.address, {frames.INITIAL_WINDOW_SIZE: window_bytes}) as caller,
    ):
        caller.call(1, method)
        caller.message(1, b"")
        assert await caller.next_of(frames.RST_STREAM) == (frames.RST_STREAM, 0, 1, CANCEL)
        async with asyncio.timeout(PATIENCE_S):
            await service.told.wait()
        assert served.server._windows._unadmitted.total_bytes == 0


@pytest.mark.parametrize("method", ["Answer", "Bare"])
async def test_who_reads_gets_all_of_it(method: str) -> None:
    service = Served()
    async with loopback(service.methods(), **service.options()) as served, served.channel() as channel:
        assert await channel.unary_unary(f"/test/{method}", bytes, bytes)(b"") == bytes(100_000)


async def test_answers_that_nobody_reads_and_no_permit_counts_are_bounded_all_together() -> None:
    """Calls of small methods, whose answers are larger than their requests."""
    service = Served()
    async with (
        loopback({"Answer": ("unary_unary", service.answer)}) as served,
        RawCaller(served.address, {frames.INITIAL_WINDOW_SIZE: 0}) as caller,
    ):
        served.server._windows._unadmitted._most_bytes = 1_000_000
        for stream_id in range(1, 41, 2):
            caller.call(stream_id, b"/test/Answer")
            caller.message(stream_id, b"")
        for _ in range(10):  # of twenty
            assert (await caller.next_of(frames.RST_STREAM))[3] == CANCEL
        assert served.server._windows._unadmitted.total_bytes <= 1_000_000
