# SPDX-License-Identifier: Apache-2.0
"""Windows, both ways: nothing leaves that was not allowed, nothing is stuck that was, nothing is lost count of."""

from typing import Literal

import h2.events
import h2.settings
import pytest
from grpc_h2.http2.stream import Message
from grpc_h2.http2.wire import frames
from hypothesis import given
from hypothesis import strategies as st
from testkit.http2_pair import ANSWER, TRAILERS, Pair, ServerSide, headers_frame

WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


def small(window_bytes: int) -> dict[int, int]:
    return {frames.INITIAL_WINDOW_SIZE: window_bytes}


def data_of(sent: list[tuple[int, int, int, bytes]]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for kind, _, stream_id, payload in sent:
        if kind == frames.DATA:
            found[stream_id] = found.get(stream_id, b"") + payload
    return found


# --- what we send ---------------------------------------------------------------------------


def test_an_answer_trickles_through_a_window_of_one_byte() -> None:
    server = ServerSide().greeted(headers_frame(1, ends=True), small(1))
    server.answer(1, b"answer")
    received = [data_of(server.sent_frames())[1]]
    for _ in range(5):
        server.receive(frames.window_update(1, 1))
        received.append(data_of(server.sent_frames())[1])
    assert received == [b"a", b"n", b"s", b"w", b"e", b"r"]
    assert server.connection.stream_count == 0


def test_a_prefix_is_cut_without_a_copy_of_what_follows() -> None:
    body = bytes(1 << 20)
    message = Message(b"12345", memoryview(body))
    assert [bytes(piece) for piece in message.take(2)] == [b"12", b""]
    assert message.view.obj is body
    assert [bytes(piece) for piece in message.take(5)] == [b"345", b"\0\0"]
    assert len(message) == len(body) - 2


def test_a_window_that_becomes_negative_sends_nothing_until_it_is_positive_again() -> None:
    server = ServerSide().greeted(headers_frame(1, ends=True), small(10))
    server.answer(1, bytes(30))
    assert len(data_of(server.sent_frames())[1]) == 10
    server.receive(frames.settings(small(4)))
    server.receive(frames.window_update(1, 6))
    assert data_of(server.sent_frames()) == {}
    server.receive(frames.window_update(1, 1))
    assert len(data_of(server.sent_frames())[1]) == 1
    server.receive(frames.settings(small(100)))
    assert len(data_of(server.sent_frames())[1]) == 19
    assert server.connection.stream_count == 0


def test_streams_begun_after_a_change_of_windows_have_the_new_ones() -> None:
    server = ServerSide().greeted(headers_frame(1, ends=True), small(10))
    server.receive(frames.settings(small(3)) + headers_frame(3, ends=True))
    server.answer(1, bytes(30))
    server.answer(3, bytes(30))
    assert {key: len(value) for key, value in data_of(server.sent_frames()).items()} == {1: 3, 3: 3}


def test_of_the_same_setting_given_twice_the_last_counts() -> None:
    twice = frames.settings(small(1))[9:] + frames.settings(small(5))[9:]
    server = ServerSide().greeted(frames.frame(frames.SETTINGS, 0, 0, twice) + headers_frame(1, ends=True))
    server.answer(1, bytes(30))
    assert len(data_of(server.sent_frames())[1]) == 5


def test_frames_are_as_large_as_the_peer_takes_them() -> None:
    server = ServerSide().greeted(headers_frame(1, ends=True), {frames.MAX_FRAME_SIZE: 20_000})
    server.answer(1, bytes(50_000))
    sizes = [len(payload) for kind, _, _, payload in server.sent_frames() if kind == frames.DATA]
    assert sizes == [20_000, 20_000, 10_000]


def test_a_short_connection_window_goes_round_among_those_that_wait_for_it() -> None:
    server = ServerSide().greeted(b"".join(headers_frame(i, ends=True) for i in (1, 3, 5, 7)), small(1 << 24))
    server.answer(1, bytes(frames.DEFAULT_WINDOW_BYTES))
    server.sent()
    for stream_id in (3, 5, 7):
        server.answer(stream_id, bytes(1000))
    assert data_of(server.sent_frames()) == {}
    turns: list[int] = []
    for _ in range(6):
        server.receive(frames.window_update(0, 10))
        turns.extend(data_of(server.sent_frames()))
    assert turns == [3, 5, 7, 3, 5, 7]


def test_many_streams_share_a_connection_window_and_all_are_answered() -> None:
    pair = Pair()
    for stream_id in range(1, 21, 2):
        pair.open(stream_id, ends=True)
    for stream_id in range(1, 21, 2):
        pair.server.answer(stream_id, bytes([stream_id]) * 200_000)
    pair.exchange()
    assert pair.bodies() == {i: bytes([i]) * 200_000 for i in range(1, 21, 2)}


def test_a_stream_whose_window_is_shut_holds_up_no_other() -> None:
    server = ServerSide().greeted(headers_frame(1, ends=True) + headers_frame(3, ends=True), small(5))
    server.answer(1, bytes(100))
    server.answer(3, b"short")
    assert data_of(server.sent_frames())[3] == b"short"
    assert set(server.connection._streams) == {1}


def test_while_the_transport_is_paused_nothing_but_control_frames_leaves() -> None:
    server = ServerSide().greeted(headers_frame(1, ends=True))
    server.sent()
    server.connection.pause()
    server.answer(1, b"body")
    server.receive(frames.frame(frames.PING, 0, 0, bytes(8)))
    assert [kind for kind, *_ in server.sent_frames()] == [frames.PING]
    server.connection.resume()
    assert [kind for kind, *_ in server.sent_frames()] == [frames.HEADERS, frames.DATA, frames.HEADERS]
    assert server.connection.stream_count == 0


@pytest.mark.slow
def test_a_large_answer_stops_where_the_transport_says_so_and_is_told_as_sent_only_at_its_end() -> None:
    told: list[int] = []
    server = ServerSide().greeted(headers_frame(1, ends=True) + frames.window_update(0, 1 << 30), small(1 << 30))
    written, write = 0, server.connection._sending._write

    def pausing(buffers: list[bytes]) -> None:
        nonlocal written
        written += sum(map(len, buffers))
        server.connection.pause()
        write(buffers)

    server.connection._sending._write = pausing  # type: ignore[assignment]
    server.answer(1, bytes(10 << 20), on_sent=lambda: told.append(1))
    server.sent()
    assert written < 2 << 20
    assert not told
    while not told:
        server.connection.resume()
    assert len(data_of(server.sent_frames())[1]) > 8 << 20


@pytest.mark.slow
@given(
    bodies=st.lists(st.integers(0, 3000), min_size=1, max_size=6),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("settings"), st.integers(0, 2000)),
            st.tuples(st.just("stream"), st.integers(0, 5), st.integers(1, 800)),
            st.tuples(st.just("connection"), st.integers(1, 800)),
        ),
        max_size=25,
    ),
)
def test_whatever_windows_do_no_more_is_sent_than_they_allow_and_in_the_end_all(
    bodies: list[int], steps: list[tuple[Literal["settings", "connection"], int] | tuple[Literal["stream"], int, int]]
) -> None:
    pair = Pair(acknowledges=False)
    pair.server.connection._sending._window_bytes = 500
    pair.client._inbound_flow_control_window_manager.current_window_size = 500
    for index, size in enumerate(bodies):
        pair.open(2 * index + 1, ends=True)
        pair.server.answer(2 * index + 1, bytes(size))
    for step in steps:
        match step:
            case ("settings", size):
                pair.client.update_settings({WINDOW: size})
            case ("connection", size):
                pair.client.increment_flow_control_window(size)
            case (_, index, size) if 2 * index + 1 in pair.server.connection._streams:
                pair.client.increment_flow_control_window(size, 2 * index + 1)
        pair.exchange()  # h2 raises where more comes than it allows
    pair.client.update_settings({WINDOW: 100_000})
    pair.client.increment_flow_control_window(100_000)
    pair.exchange()
    assert {key: len(value) for key, value in pair.bodies().items()} == {
        2 * index + 1: size for index, size in enumerate(bodies) if size
    }
    assert pair.server.connection.stream_count == 0


# --- what we receive ------------------------------------------------------------------------


def settings_ack() -> bytes:
    return frames.frame(frames.SETTINGS, frames.ACK, 0)


def data_frame(stream_id: int, byte_count: int) -> bytes:
    return frames.frame(frames.DATA, 0, stream_id, bytes(byte_count))


def test_a_larger_first_window_counts_once_the_peer_has_taken_note_of_it() -> None:
    server = ServerSide().greeted(settings_ack() + headers_frame(1))
    server.sent()
    server.connection.resize_window(1 << 20)
    (resized,) = server.sent_frames()
    assert (resized[0], frames.read_settings(resized[3])) == (frames.SETTINGS, [(frames.INITIAL_WINDOW_SIZE, 1 << 20)])
    assert server.streams[1].receivable_bytes == frames.DEFAULT_WINDOW_BYTES
    server.receive(settings_ack() + headers_frame(3))
    assert [stream.receivable_bytes for stream in server.streams.values()] == [1 << 20, 1 << 20]
    for _ in range(8):
        server.receive(data_frame(3, 1 << 17))
    fault = server.fault_of(data_frame(3, 1))
    assert fault is not None
    assert fault.code == frames.FLOW_CONTROL_ERROR


def test_what_is_waited_for_comes_whole_though_the_window_gets_smaller_meanwhile() -> None:
    server = ServerSide().greeted(settings_ack())
    server.connection.resize_window(1 << 20)
    server.receive(settings_ack() + headers_frame(1))
    server.connection.let_send(server.streams[1], 500_000)
    server.receive(data_frame(1, 100_000))
    server.sent()
    server.connection.resize_window(frames.DEFAULT_WINDOW_BYTES)
    server.receive(data_frame(1, 100_000) + settings_ack())
    given = [
        frames.read_number(payload) for kind, _, _, payload in server.sent_frames() if kind == frames.WINDOW_UPDATE
    ]
    # Of the small window 200,000 bytes have been used already; 300,000 are still to come.
    assert given == [300_000 - (frames.DEFAULT_WINDOW_BYTES - 200_000)]
    for _ in range(3):
        server.receive(data_frame(1, 100_000))
    assert server.fault_of(data_frame(1, 1)) is not None


def test_acknowledgements_that_nobody_asked_for_change_nothing() -> None:
    server = ServerSide().greeted(settings_ack() * 5 + headers_frame(1))
    assert server.streams[1].receivable_bytes == frames.DEFAULT_WINDOW_BYTES


def test_what_cannot_be_sent_at_once_of_a_borrowed_body_is_copied() -> None:
    server = ServerSide().greeted(headers_frame(1, ends=True), small(10))
    lent = bytearray(b"a" * 30)
    server.connection.send(server.streams[1], headers=ANSWER, body=[(b"12345", lent)], trailers=TRAILERS, borrowed=True)
    assert data_of(server.sent_frames())[1] == b"12345aaaaa"
    lent[:] = b"z" * 30
    server.receive(frames.window_update(1, 100))
    assert data_of(server.sent_frames())[1] == b"a" * 25


def test_a_stream_may_send_its_window_and_after_our_leave_more() -> None:
    pair = Pair()
    sink = pair.open(1)
    assert pair.client.local_flow_control_window(1) == frames.DEFAULT_WINDOW_BYTES
    pair.server.connection.let_send(pair.server.streams[1], 200_000)
    pair.exchange()
    assert pair.client.local_flow_control_window(1) == 200_000
    for _ in range(20):
        pair.client.send_data(1, bytes(10_000))
        pair.exchange()
    assert len(sink.body) == 200_000
    assert pair.client.local_flow_control_window(1) == 0


def test_leave_for_less_than_is_left_costs_no_frame() -> None:
    pair = Pair()
    pair.open(1)
    pair.server.connection.let_send(pair.server.streams[1], frames.DEFAULT_WINDOW_BYTES)
    assert pair.server.sent() == b""


def test_of_a_large_body_a_mebibyte_is_let_come_at_a_time_and_all_of_it_in_the_end() -> None:
    pair = Pair()
    sink = pair.open(1)
    total = 10 << 20
    pair.server.connection.let_send(pair.server.streams[1], total)
    pair.exchange()
    while len(sink.body) < total:
        window = pair.client.local_flow_control_window(1)
        assert 0 < window <= 1 << 20
        pair.client.send_data(1, bytes(min(window, 16_384)))
        pair.exchange()
    opened = [event for event in pair.of(h2.events.WindowUpdated) if event.stream_id == 1]
    assert len(opened) <= 2 * total // (1 << 20) + 1


def test_more_than_the_connections_window_ends_the_connection() -> None:
    server = ServerSide().greeted(headers_frame(1))
    server.connection._windows._receivable_bytes = 10
    fault = server.fault_of(data_frame(1, 11))
    assert fault is not None
    assert fault.code == frames.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padding_is_given_back_so_that_a_padded_body_comes_to_its_end(padding: int) -> None:
    pair = Pair()
    sink = pair.open(1)
    for _ in range(2000):
        pair.client.send_data(1, b"body", pad_length=padding)
        pair.exchange()
    assert pair.client.local_flow_control_window(1) == frames.DEFAULT_WINDOW_BYTES - 8000
    assert len(sink.body) == 8000


def test_data_of_ended_streams_is_given_back_to_the_connection() -> None:
    pair = Pair()
    pair.open(1)
    pair.client.send_headers(3, [(b":method", b"POST"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"a")])
    pair.exchange()
    connection = pair.server.connection
    connection.let_send(pair.server.streams[1], frames.MAX_WINDOW_BYTES)
    pair.exchange()
    connection.reset(pair.server.streams[1], frames.CANCEL)
    whole = pair.client.outbound_flow_control_window
    connection._windows._receivable_bytes = pair.client.outbound_flow_control_window = whole // 2 + 10
    pair.server.receive(frames.frame(frames.DATA, 0, 1, bytes(11)))
    pair.client.outbound_flow_control_window -= 11
    pair.exchange()
    assert pair.client.outbound_flow_control_window == whole
    assert pair.server.sinks[1].body == b""
