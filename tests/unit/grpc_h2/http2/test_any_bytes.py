# SPDX-License-Identifier: Apache-2.0
"""However bytes are cut they mean the same, and whatever they are the connection ends in order."""

import itertools
from typing import Any

import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault
from grpc_h2.http2.wire.frames import frame
from grpc_h2.http2.wire.header_blocks import write_fields
from hypothesis import given, settings
from hypothesis import strategies as st
from testkit.http2_pair import REQUEST, TRAILERS, ServerSide, headers_frame

LIMITS = Http2Limits(max_streams=4, nuisance_burst=30)
STREAMS = st.sampled_from([1, 3, 5, 7, 9])
BLOCK = write_fields(REQUEST)


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


FRAMES = st.one_of(
    st.builds(headers_frame, STREAMS, ends=st.booleans()),
    st.builds(cut_headers, STREAMS, st.integers(0, len(BLOCK))),
    st.builds(
        data_frame,
        STREAMS,
        st.sampled_from([0, 1, 100, 17_000, 40_000]),
        st.booleans(),
        st.sampled_from([None, 0, 1, 255]),
    ),
    st.builds(lambda i: frame(frames.RST_STREAM, 0, i, bytes(4)), STREAMS),
    st.builds(frames.window_update, STREAMS | st.just(0), st.sampled_from([1, 1000, 2**31 - 1])),
    st.builds(lambda size: frames.settings({frames.INITIAL_WINDOW_SIZE: size}), st.sampled_from([0, 1, 100_000])),
    st.just(frame(frames.PING, 0, 0, b"12345678")),
    st.just(frames.goaway(0, 0)),
    st.binary(max_size=12),
)
# Streams of frames that mostly are what they should be: the first opens a stream.
BYTES = st.lists(FRAMES, max_size=14).map(lambda some: headers_frame(1) + b"".join(some))


def play(data: bytes, cuts: list[int], *, in_place: bool) -> tuple[ServerSide, str]:
    """Feed bytes in pieces; return the side, and the fault that ended it."""
    server = ServerSide(LIMITS, in_place=in_place)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    text = ""
    try:
        for start, end in itertools.pairwise(edges):
            server.receive(data[start:end])
    except ConnectionFault as fault:
        server.connection.fail(fault)
        text = fault.text
    return server, text


def events(server: ServerSide) -> dict[int, Any]:
    return {
        stream_id: (bytes(sink.body), sink.has_ended, sink.lost_texts, server.fields[stream_id])
        for stream_id, sink in server.sinks.items()
    }


@pytest.mark.slow
@given(data=BYTES, cuts=st.lists(st.integers(0, 1 << 20), max_size=12), in_place=st.booleans())
@settings(max_examples=150, deadline=None)
def test_however_bytes_are_cut_the_same_happens(data: bytes, cuts: list[int], in_place: bool) -> None:
    data = frames.PREFACE + frames.settings({}) + data
    whole, expected = play(data, [], in_place=False)
    pieces, found = play(data, cuts, in_place=in_place)
    assert found == expected
    assert events(pieces) == events(whole)
    assert pieces.sent() == whole.sent()


@given(data=BYTES)
@settings(max_examples=15, deadline=None)
def test_byte_by_byte_the_same_happens(data: bytes) -> None:
    data = frames.PREFACE + frames.settings({}) + data[:3000]
    whole, expected = play(data, [], in_place=True)
    pieces, found = play(data, list(range(len(data))), in_place=True)
    assert (found, events(pieces), pieces.sent()) == (expected, events(whole), whole.sent())


def ended_once(server: ServerSide) -> None:
    """Check that the connection's end tells whoever has not heard, and nobody twice (a sink would say so)."""
    for stream_id in list(server.streams)[::2]:
        server.connection.send(server.streams[stream_id], body=[(b"\0", bytes(100))], trailers=TRAILERS)
    server.connection.end("the connection is gone")
    assert server.connection.stream_count == 0
    for stream_id, stream in server.streams.items():
        assert stream.closed
        assert not stream.unsent
        assert stream.sink is None
        assert len(server.sinks[stream_id].lost_texts) <= 1
    assert not server.connection._sending._waiting
    server.sent()


@given(data=st.binary(max_size=400), greeted=st.booleans())
@settings(max_examples=150, deadline=None)
def test_random_bytes_end_in_order(data: bytes, greeted: bool) -> None:
    if greeted:
        data = frames.PREFACE + frames.settings({}) + headers_frame(1) + data
    ended_once(play(data, [], in_place=True)[0])


@pytest.mark.slow
@given(data=BYTES, changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_damaged_streams_end_in_order(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(frames.settings({}) + data)
    for at, value in changes:
        damaged[at % min(len(damaged), 4000)] = value
    ended_once(play(frames.PREFACE + bytes(damaged), [], in_place=True)[0])


@pytest.mark.slow
@given(block=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_header_block_is_read_or_is_a_fault(block: bytes) -> None:
    data = frames.PREFACE + frames.settings({}) + frame(frames.HEADERS, frames.END_HEADERS, 1, block)
    ended_once(play(data, [], in_place=False)[0])


@given(data=BYTES)
@settings(max_examples=60, deadline=None)
def test_of_a_body_nothing_is_kept_on_the_way_in(data: bytes) -> None:
    """What is put together first is at most a frame's head and pad length, a control frame or a header block."""
    server = ServerSide(LIMITS).greeted()
    try:
        for at in range(0, len(data), 1000):
            server.receive(data[at : at + 1000])
            rest = server.connection.receiving._rest
            assert len(rest) < frames.HEADER_BYTES + 1 or rest[3] != frames.DATA
    except ConnectionFault:
        pass
