# SPDX-License-Identifier: Apache-2.0
"""A connection on the event loop: who is silent is ended, who closes is not written to, buffers hold nothing."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.protocol import SCRATCH_BYTES, Scratch
from grpc_h2.http2.server_protocol import ServerProtocol
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import FaultKind
from testkit.http2_pair import RecordingSink, headers_frame

GREETING = frames.PREFACE + frames.settings({})
SHORT_S = 0.02


class Transport(asyncio.Transport):
    """Writes down what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = self.has_ended = False
        self.reading = True
        self.aborted = asyncio.Event()
        self.pings = asyncio.Event()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def writelines(self, list_of_data: Sequence[Any]) -> None:  # type: ignore[override]
        assert not self.closing
        assert not self.has_ended
        data = b"".join(list_of_data)
        self.written += data
        if frames.frame(frames.PING, 0, 0, bytes(8)) in data:
            self.pings.set()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True
        self.aborted.set()


class Side:
    """A protocol on a transport that writes down, and the sinks of its streams."""

    def __init__(self, limits: Http2Limits | None = None, *, in_place: bool = False) -> None:
        self.scratch = Scratch()
        self.sinks: list[RecordingSink] = []
        self.opened = self.closed = 0
        self.faults: list[FaultKind] = []

        def open_stream(*_: object) -> RecordingSink:
            self.sinks.append(RecordingSink(in_place=in_place))
            return self.sinks[-1]

        def opened(_: ServerProtocol) -> None:
            self.opened += 1

        def closed(_: ServerProtocol) -> None:
            self.closed += 1

        def fault(_: ServerProtocol, kind: FaultKind, __: str) -> None:
            self.faults.append(kind)

        self.protocol = ServerProtocol(
            limits or Http2Limits(),
            scratch=self.scratch,
            open_stream=lambda _: open_stream,
            on_opened=opened,
            on_closed=closed,
            on_fault=fault,
        )
        self.transport = Transport()
        self.protocol.connection_made(self.transport)

    def bring(self, data: bytes) -> None:
        while data:
            buffer = self.protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]

    def lose(self) -> None:
        self.protocol.connection_lost(None)


async def test_who_does_not_introduce_himself_in_time_is_cut_off() -> None:
    side = Side(Http2Limits(greeting_timeout_s=SHORT_S))
    async with asyncio.timeout(5):
        await side.transport.aborted.wait()
    side.lose()
    assert (side.opened, side.closed) == (1, 1)


async def test_a_silent_peer_is_asked_for_a_sign_of_life_and_then_cut_off() -> None:
    side = Side(Http2Limits(greeting_timeout_s=SHORT_S, keepalive_s=SHORT_S, keepalive_timeout_s=SHORT_S))
    side.bring(GREETING + headers_frame(1))
    async with asyncio.timeout(5):
        await side.transport.aborted.wait()
    assert side.transport.pings.is_set()
    side.lose()
    assert len(side.sinks[0].lost_texts) == 1


@pytest.mark.slow
async def test_who_answers_is_asked_again() -> None:
    side = Side(Http2Limits(greeting_timeout_s=SHORT_S, keepalive_s=SHORT_S, keepalive_timeout_s=0.2))
    side.bring(GREETING)
    async with asyncio.timeout(5):
        for _ in range(2):
            await side.transport.pings.wait()
            side.transport.pings.clear()
            side.bring(frames.frame(frames.PING, frames.ACK, 0, bytes(8)))
    assert not side.transport.aborted.is_set()
    side.lose()


@pytest.mark.parametrize("in_place", [False, True])
async def test_the_buffer_of_all_connections_holds_nothing_between_arrivals(in_place: bool) -> None:
    side = Side(in_place=in_place)
    side.bring(GREETING + headers_frame(1) + frames.frame(frames.DATA, 0, 1, b"s" * 40_000))
    assert not any(side.scratch.view)
    side.scratch.view[-5:] = b"trace"  # of a transport that failed before it told of it
    side.lose()
    assert not any(side.scratch.view)
    assert len(side.scratch.view) == SCRATCH_BYTES


def _fault(side: Side) -> None:
    side.bring(frames.frame(frames.PING, 0, 1, bytes(8)))


def _eof(side: Side) -> None:
    assert not side.protocol.eof_received()


def _close(side: Side) -> None:
    side.protocol.close()


@pytest.mark.parametrize("end", [_fault, _eof, _close])
async def test_an_end_tells_every_stream_at_once_and_takes_nothing_more(end: Callable[[Side], None]) -> None:
    side = Side()
    side.bring(GREETING + headers_frame(1) + headers_frame(3))
    end(side)
    assert [len(sink.lost_texts) for sink in side.sinks] == [1, 1]
    assert side.transport.closing or side.transport.has_ended
    side.bring(headers_frame(5) + b"what TLS had still read" * 10)
    side.protocol.pause_writing()
    side.protocol.resume_writing()
    side.protocol.close()
    await asyncio.sleep(0)
    assert len(side.sinks) == 2
    side.lose()
    assert side.closed == 1
    assert not side.transport.aborted.is_set()


async def test_last_words_are_written_before_the_close() -> None:
    side = Side()
    side.bring(GREETING)
    _fault(side)
    assert frames.head(frames.GOAWAY, 0, 0, 8)[3:] in side.transport.written
    side.lose()


async def test_who_does_not_read_the_last_words_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_h2.http2.protocol._CLOSE_TIMEOUT_S", SHORT_S)
    side = Side()
    side.bring(GREETING)
    _fault(side)
    async with asyncio.timeout(5):
        await side.transport.aborted.wait()
    side.lose()


async def test_a_connection_that_we_end_is_read_until_its_peer_ends_it_too() -> None:
    """Closed with something unread it would be reset, and its peer would lose the answers that it has not read yet."""
    side = Side()
    side.bring(GREETING + b"".join(headers_frame(number) for number in range(1, 41, 2)))
    assert not side.transport.reading
    side.protocol.close()
    assert (side.transport.has_ended, side.transport.closing, side.transport.reading) == (True, False, True)
    side.bring(headers_frame(41))
    assert not side.protocol.eof_received()
    assert side.transport.closing
    assert not side.transport.aborted.is_set()
    side.lose()


async def test_who_does_not_end_a_connection_that_we_have_ended_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_h2.http2.server_protocol._NOTICE_TIMEOUT_S", SHORT_S)
    side = Side()
    side.bring(GREETING)
    side.protocol.close()
    async with asyncio.timeout(5):
        await side.transport.aborted.wait()
    side.lose()


async def test_where_many_calls_begin_at_once_others_have_their_turn_before_more_of_them_are_read() -> None:
    side = Side()
    side.bring(GREETING + b"".join(headers_frame(number) for number in range(1, 41, 2)))
    for count in range(2, 20, 2):
        assert not side.transport.reading
        assert len(side.sinks) == count
        await asyncio.sleep(0)
    assert side.transport.reading
    side.bring(headers_frame(41))
    assert side.transport.reading
    assert len(side.protocol.get_buffer(-1)) == SCRATCH_BYTES
    side.lose()


async def test_a_connection_that_is_gone_is_not_read_on() -> None:
    side = Side()
    side.bring(GREETING + b"".join(headers_frame(number) for number in range(1, 41, 2)))
    side.transport.closing = True
    await asyncio.sleep(0)
    assert not side.transport.reading
    side.lose()
