# SPDX-License-Identifier: Apache-2.0
"""What comes at once is taken a few frames at a time, and says the same; many streams are given up in several steps."""

import itertools
from typing import Any

import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.receiving import Receiving
from grpc_h2.http2.wire import frames
from hypothesis import given, settings
from hypothesis import strategies as st
from testkit.http2_pair import ServerSide, headers_frame

FRAMES = st.one_of(
    st.builds(
        lambda stream, body, end: frames.frame(frames.DATA, end, stream, body),
        st.sampled_from([1, 3]),
        st.binary(max_size=40),
        st.sampled_from([0, frames.END_STREAM]),
    ),
    st.builds(
        lambda stream, block: frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block),
        st.sampled_from([5, 7]),
        st.binary(max_size=20),
    ),
    st.just(frames.frame(frames.PING, 0, 0, bytes(8))),
    st.just(frames.window_update(1, 5)),
)


class Told:
    """Writes down what the way in tells, and whose body comes."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.sink = self

    def data_comes(self, stream_id: int, length_bytes: int, *, padding_bytes: int, ended: bool) -> Any:
        self.events.append(("data", stream_id, length_bytes, padding_bytes, ended))
        return self

    def feed(self, data: memoryview) -> None:
        if self.events and self.events[-1][0] == "body":
            data = memoryview(self.events.pop()[1] + bytes(data))
        self.events.append(("body", bytes(data)))

    def body_ended(self, stream: object) -> None:
        self.events.append(("end",))

    def headers_came(self, stream_id: int, block: bytes, *, ended: bool, depends_on_itself: bool) -> None:
        self.events.append(("headers", stream_id, block, ended, depends_on_itself))

    def window_came(self, stream_id: int, byte_count: int) -> None:
        self.events.append(("window", stream_id, byte_count))

    def control_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self.events.append(("control", kind, flags, stream_id, payload))


def told_of(parts: list[bytes], most_frames: int | None) -> list[Any]:
    told = Told()
    receiving = Receiving(told, max_frame_bytes=1 << 20, max_block_bytes=1 << 14)
    for part in parts:
        left = receiving.take(memoryview(part), most_frames)
        while left:
            left = receiving.take(memoryview(b""), most_frames)
    return told.events


@pytest.mark.slow
@given(st.lists(FRAMES, max_size=30), st.lists(st.integers(0, 900), max_size=5), st.integers(1, 4))
@settings(max_examples=200)
def test_a_few_frames_at_a_time_say_what_all_at_once_say(sent: list[bytes], cuts: list[int], most: int) -> None:
    data = frames.PREFACE + frames.settings({}) + b"".join(sent)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert told_of(parts, most) == told_of([data], None)


def test_of_what_came_no_more_frames_are_begun_than_was_said() -> None:
    told = Told()
    receiving = Receiving(told, max_frame_bytes=1 << 20, max_block_bytes=1 << 14)
    pings = frames.frame(frames.PING, 0, 0, bytes(8)) * 10
    assert receiving.take(memoryview(frames.PREFACE + frames.settings({}) + pings), 4)
    assert len(told.events) == 4
    assert receiving.take(memoryview(b""), 4)
    assert receiving.take(memoryview(pings), 0)
    assert len(told.events) == 8
    assert not receiving.take(memoryview(b""), 100)
    assert len(told.events) == 21


def test_a_thousand_streams_are_given_up_in_several_steps() -> None:
    server = ServerSide(Http2Limits(max_streams=1000))
    server.receive(frames.PREFACE + frames.settings({}) + b"".join(headers_frame(1 + 2 * n) for n in range(1000)))
    server.connection.end("gone")
    assert 0 < sum(bool(sink.lost_texts) for sink in server.sinks.values()) < 100
    server.sent()
    assert len(server.sinks) == 1000
    assert all(sink.lost_texts == ["gone"] for sink in server.sinks.values())
