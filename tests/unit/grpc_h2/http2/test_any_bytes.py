# SPDX-License-Identifier: Apache-2.0
"""However a peer's bytes are cut they mean the same, and whatever they are each stream hears of its end once."""

import itertools
from abc import ABC, abstractmethod
from typing import Any

import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault
from grpc_h2.http2.wire.frames import frame
from grpc_h2.http2.wire.header_blocks import write_fields
from hypothesis import given, settings
from hypothesis import strategies as st
from testkit.http2_client import HEADERS, ClientSide, answer_frames, block_frame
from testkit.http2_client import TRAILERS as TRAILER_FIELDS
from testkit.http2_pair import REQUEST, TRAILERS, ServerSide, Side, headers_frame
from testkit.long_runs import short_or_long

LIMITS = Http2Limits(max_streams=4, control_frame_burst=30)
BLOCK = write_fields(REQUEST)
CUTS = st.lists(st.integers(0, 1 << 20), max_size=12)
CHANGES = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8)


def data_frame(stream_id: int, size: int, ends: bool, padding: int | None) -> bytes:
    body = bytes(i % 251 for i in range(size))
    flags = frames.END_STREAM if ends else 0
    if padding is None:
        return frame(frames.DATA, flags, stream_id, body)
    return frame(frames.DATA, flags | frames.PADDED, stream_id, bytes([padding]) + body + bytes(padding))


def cut_headers(stream_id: int, at: int) -> bytes:
    return frame(frames.HEADERS, 0, stream_id, BLOCK[:at]) + frame(
        frames.CONTINUATION, frames.END_HEADERS, stream_id, BLOCK[at:]
    )


def data_frames(streams: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    sizes, padding = st.sampled_from([0, 1, 100, 17_000, 40_000]), st.sampled_from([None, 0, 1, 255])
    return st.builds(data_frame, streams, sizes, st.booleans(), padding)


def control_frames(streams: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    """Return frames that either side sends, and some that nobody does."""
    return st.one_of(
        st.builds(frames.rst_stream, streams, st.sampled_from([0, 7, 8])),
        st.builds(frames.window_update, streams | st.just(0), st.sampled_from([1, 1000, 2**31 - 1])),
        st.builds(lambda size: frames.settings({frames.INITIAL_WINDOW_SIZE: size}), st.sampled_from([0, 1, 100_000])),
        st.just(frame(frames.PING, 0, 0, b"12345678")),
        st.binary(max_size=12),
    )


class Play(ABC):
    """How one side is played. `greeting` is what its peer begins with, `streams_of_frames` mostly what it may send."""

    greeting: bytes
    streams_of_frames: st.SearchStrategy[bytes]

    @abstractmethod
    def side(self, *, in_place: bool) -> Side:
        """Return a side that has heard nothing yet."""

    def play(self, data: bytes, cuts: list[int], *, in_place: bool) -> tuple[Side, str]:
        """Feed bytes in pieces; return the side, and the fault that ended it."""
        side = self.side(in_place=in_place)
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        try:
            for start, end in itertools.pairwise(edges):
                side.receive(data[start:end])
        except ConnectionFault as fault:
            side.connection.fail(fault)
            return side, fault.text
        return side, ""

    @abstractmethod
    def events(self, side: Any) -> Any:
        """Return what was told of each stream."""

    def end(self, side: Any) -> None:
        """Check that the connection's end tells whoever has not heard, and nobody twice (a sink would say so)."""
        side.connection.end("the connection is gone")
        assert side.connection.stream_count == 0
        assert not side.connection._sending._waiting
        side.sent()


class ServerPlay(Play):
    greeting = frames.PREFACE + frames.settings({})
    _ids = st.sampled_from([1, 3, 5, 7, 9])
    _frames = st.one_of(
        st.builds(headers_frame, _ids, ends=st.booleans()),
        st.builds(cut_headers, _ids, st.integers(0, len(BLOCK))),
        data_frames(_ids),
        control_frames(_ids),
        st.just(frames.goaway(0, 0)),
    )
    # The first opens a stream.
    streams_of_frames = st.lists(_frames, max_size=14).map(lambda some: headers_frame(1) + b"".join(some))

    def side(self, *, in_place: bool) -> ServerSide:
        return ServerSide(LIMITS, in_place=in_place)

    def events(self, side: ServerSide) -> Any:
        return {
            stream_id: (bytes(sink.body), sink.has_ended, sink.lost_texts, side.fields[stream_id])
            for stream_id, sink in side.sinks.items()
        }

    def end(self, side: ServerSide) -> None:
        for stream_id in list(side.streams)[::2]:
            side.connection.send(side.streams[stream_id], body=[(b"\0", bytes(100))], trailers=TRAILERS)
        super().end(side)
        assert all(stream.closed and not stream.unsent and stream.sink is None for stream in side.streams.values())
        assert all(len(sink.lost_texts) <= 1 for sink in side.all_sinks())


class ClientPlay(Play):
    greeting = frames.settings({})
    _ids = st.sampled_from([1, 3, 5])
    _bodies = st.sampled_from([b"", b"x", bytes(range(100)), bytes(17_000), b"y" * 40_000])
    _fields = st.sampled_from([HEADERS, TRAILER_FIELDS, ((b":status", b"103"),)])
    _frames = st.one_of(
        st.builds(answer_frames, _ids, _bodies),
        st.builds(block_frame, _ids, _fields, ends=st.booleans()),
        data_frames(_ids),
        control_frames(_ids),
        st.builds(lambda count: frames.settings({frames.MAX_CONCURRENT_STREAMS: count}), st.integers(0, 5)),
        st.builds(frames.goaway, st.sampled_from([0, 1, 3, 2**31 - 1]), st.just(0)),
    )
    streams_of_frames = st.lists(_frames, max_size=14).map(b"".join)

    def side(self, *, in_place: bool) -> ClientSide:
        """Return one that has asked three times."""
        client = ClientSide(in_place=in_place)
        for _ in range(3):
            client.ask(b"question", bytes(1000))
        return client

    def events(self, side: ClientSide) -> Any:
        return [(bytes(s.body), s.blocks, s.has_ended, s.lost_texts, s.codes) for s in side.sinks]

    def end(self, side: ClientSide) -> None:
        super().end(side)
        assert all(sink.is_over for sink in side.sinks)
        assert all(stream.closed and not stream.unsent and stream.sink is None for stream in side.streams)
        assert not side.connection._waiting


SERVER, CLIENT = ServerPlay(), ClientPlay()
EITHER = pytest.mark.parametrize("play", [SERVER, CLIENT], ids=["server", "client"])


@pytest.mark.slow
@EITHER
@given(some=st.data(), cuts=CUTS, in_place=st.booleans())
@settings(max_examples=short_or_long(150, 3000))
def test_however_bytes_are_cut_the_same_happens(
    play: Play, some: st.DataObject, cuts: list[int], in_place: bool
) -> None:
    data = play.greeting + some.draw(play.streams_of_frames)
    whole, expected = play.play(data, [], in_place=False)
    pieces, found = play.play(data, cuts, in_place=in_place)
    assert (found, play.events(pieces), pieces.sent()) == (expected, play.events(whole), whole.sent())


@EITHER
@given(some=st.data())
@settings(max_examples=short_or_long(15, 300))
def test_byte_by_byte_the_same_happens(play: Play, some: st.DataObject) -> None:
    data = play.greeting + some.draw(play.streams_of_frames)[:3000]
    whole, expected = play.play(data, [], in_place=True)
    pieces, found = play.play(data, list(range(len(data))), in_place=True)
    assert (found, play.events(pieces), pieces.sent()) == (expected, play.events(whole), whole.sent())


@EITHER
@given(data=st.binary(max_size=400), greeted=st.booleans())
@settings(max_examples=short_or_long(150, 3000))
def test_random_bytes_end_in_order(play: Play, data: bytes, greeted: bool) -> None:
    if greeted:
        data = play.greeting + headers_frame(1) + data
    play.end(play.play(data, [], in_place=True)[0])


@pytest.mark.slow
@EITHER
@given(some=st.data(), changes=CHANGES)
@settings(max_examples=short_or_long(250, 5000))
def test_damaged_streams_end_in_order(play: Play, some: st.DataObject, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(play.greeting.removeprefix(frames.PREFACE) + some.draw(play.streams_of_frames))
    for at, value in changes:
        damaged[at % min(len(damaged), 4000)] = value
    preface = frames.PREFACE if play.greeting.startswith(frames.PREFACE) else b""
    play.end(play.play(preface + bytes(damaged), [], in_place=True)[0])


@pytest.mark.slow
@EITHER
@given(block=st.binary(max_size=300))
@settings(max_examples=short_or_long(200, 4000))
def test_any_header_block_is_read_or_is_a_fault(play: Play, block: bytes) -> None:
    data = play.greeting + frame(frames.HEADERS, frames.END_HEADERS, 1, block)
    play.end(play.play(data, [], in_place=False)[0])


@pytest.mark.slow
@EITHER
@given(some=st.data())
@settings(max_examples=short_or_long(60, 1200))
def test_of_a_body_nothing_is_kept_on_the_way_in(play: Play, some: st.DataObject) -> None:
    """What is put together first is at most a frame's head and pad length, a control frame or a header block."""
    data = play.greeting + some.draw(play.streams_of_frames)
    side = play.side(in_place=False)
    try:
        for at in range(0, len(data), 1000):
            side.receive(data[at : at + 1000])
            rest = side.connection.receiving._rest
            assert len(rest) < frames.HEADER_BYTES + 1 or rest[3] != frames.DATA
    except ConnectionFault:
        pass
