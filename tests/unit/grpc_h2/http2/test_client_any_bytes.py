# SPDX-License-Identifier: Apache-2.0
"""However a server's bytes are cut they mean the same, and whatever they are every request hears of its end once."""

import itertools
from typing import Any

import pytest
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault
from grpc_h2.http2.wire.frames import frame
from hypothesis import given, settings
from hypothesis import strategies as st
from testkit.http2_client import HEADERS, TRAILERS, ClientSide, answer_frames, block_frame

STREAMS = st.sampled_from([1, 3, 5])
BODIES = st.sampled_from([b"", b"x", bytes(range(100)), bytes(17_000), b"y" * 40_000])


def padded(stream_id: int, body: bytes, padding: int, ends: bool) -> bytes:
    flags = frames.PADDED | (frames.END_STREAM if ends else 0)
    return frame(frames.DATA, flags, stream_id, bytes([padding]) + body + bytes(padding))


FRAMES = st.one_of(
    st.builds(answer_frames, STREAMS, BODIES),
    st.builds(block_frame, STREAMS, st.sampled_from([HEADERS, TRAILERS, ((b":status", b"103"),)]), ends=st.booleans()),
    st.builds(padded, STREAMS, BODIES, st.sampled_from([0, 1, 255]), st.booleans()),
    st.builds(frames.rst_stream, STREAMS, st.sampled_from([0, 7, 8])),
    st.builds(frames.window_update, STREAMS | st.just(0), st.sampled_from([1, 1000, 2**31 - 1])),
    st.builds(lambda n: frames.settings({frames.MAX_CONCURRENT_STREAMS: n}), st.integers(0, 5)),
    st.builds(lambda n: frames.settings({frames.INITIAL_WINDOW_SIZE: n}), st.sampled_from([0, 1, 100_000])),
    st.just(frame(frames.PING, 0, 0, b"12345678")),
    st.builds(frames.goaway, st.sampled_from([0, 1, 3, 2**31 - 1]), st.just(0)),
    st.binary(max_size=12),
)
BYTES = st.lists(FRAMES, max_size=14).map(lambda some: frames.settings({}) + b"".join(some))


def play(data: bytes, cuts: list[int], *, in_place: bool) -> tuple[ClientSide, str]:
    """Ask three times and feed bytes in pieces; return the side, and the fault that ended it."""
    client = ClientSide(in_place=in_place)
    for _ in range(3):
        client.ask(b"question", bytes(1000))
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, end in itertools.pairwise(edges):
            client.receive(data[start:end])
    except ConnectionFault as fault:
        client.connection.fail(fault)
        return client, fault.text
    return client, ""


def events(client: ClientSide) -> list[Any]:
    return [(bytes(s.body), s.blocks, s.has_ended, s.lost_texts, s.codes) for s in client.sinks]


@pytest.mark.slow
@given(data=BYTES, cuts=st.lists(st.integers(0, 1 << 20), max_size=12), in_place=st.booleans())
@settings(max_examples=150, deadline=None)
def test_however_bytes_are_cut_the_same_happens(data: bytes, cuts: list[int], in_place: bool) -> None:
    whole, expected = play(data, [], in_place=False)
    pieces, found = play(data, cuts, in_place=in_place)
    assert (found, events(pieces), pieces.sent()) == (expected, events(whole), whole.sent())


@given(data=BYTES)
@settings(max_examples=15, deadline=None)
def test_byte_by_byte_the_same_happens(data: bytes) -> None:
    data = data[:3000]
    whole, expected = play(data, [], in_place=True)
    pieces, found = play(data, list(range(len(data))), in_place=True)
    assert (found, events(pieces), pieces.sent()) == (expected, events(whole), whole.sent())


@pytest.mark.slow
@given(
    data=BYTES | st.binary(max_size=400),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
)
@settings(max_examples=250, deadline=None)
def test_whatever_comes_every_request_hears_of_its_end_once(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        if damaged:
            damaged[at % len(damaged)] = value
    client, _ = play(bytes(damaged), [], in_place=True)
    client.connection.end("the connection is gone")
    assert all(sink.is_over for sink in client.sinks)  # a second end, or anything after one, raises
    assert all(stream.closed and not stream.unsent and stream.sink is None for stream in client.streams)
    assert client.connection.stream_count == 0
    assert not client.connection._waiting
    client.sent()
