# SPDX-License-Identifier: Apache-2.0
"""Whole exchanges with the library h2, which knows the RFC on its own."""

import h2.events
import h2.settings
import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import write_fields
from testkit.http2_pair import ANSWER, REQUEST, Pair

BODY = bytes(range(256)) * 1000


def test_the_client_learns_our_limits_and_its_settings_are_acknowledged() -> None:
    pair = Pair(Http2Limits(max_streams=7, max_header_bytes=5000, max_frame_bytes=100_000))
    remote = pair.client.remote_settings
    assert (remote.max_concurrent_streams, remote.max_header_list_size, remote.max_frame_size) == (7, 5000, 100_000)
    assert len(pair.of(h2.events.SettingsAcknowledged)) == 1
    assert pair.client.outbound_flow_control_window == Http2Limits().connection_window_bytes


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("padding", [None, 0, 255])
def test_a_body_arrives_whole_and_its_answer_too(in_place: bool, padding: int | None) -> None:
    pair = Pair(in_place=in_place)
    sink = pair.open(1)
    pair.server.connection.let_send(pair.server.streams[1], 1 << 20)
    pair.exchange()
    for at in range(0, len(BODY), 32_000):
        pair.client.send_data(1, BODY[at : at + 32_000], pad_length=padding)
    pair.client.end_stream(1)
    pair.exchange()
    assert sink.body == BODY
    assert sink.has_ended
    pair.server.answer(1, BODY)
    pair.exchange()
    assert pair.bodies() == {1: BODY}
    assert pair.of(h2.events.TrailersReceived)[0].headers == [(b"grpc-status", b"0")]
    assert len(pair.of(h2.events.StreamEnded)) == 1
    assert pair.server.connection.stream_count == 0
    assert not sink.lost_texts


def test_headers_are_read_with_a_table_that_both_sides_keep() -> None:
    pair = Pair(Http2Limits(max_streams=1000))
    for stream_id in range(1, 400, 2):
        fields = (*REQUEST, (b"x-now-and-then", str(stream_id // 7).encode()))
        pair.client.send_headers(stream_id, list(fields))
        pair.exchange()
        assert pair.server.fields[stream_id] == fields


def test_headers_in_many_frames_are_put_together() -> None:
    pair = Pair()
    long = (*REQUEST, (b"x-long", bytes(33 + i % 90 for i in range(14_000))))
    pair.client.max_outbound_frame_size = 1000
    pair.client.send_headers(1, list(long))
    pair.exchange()
    assert pair.server.fields[1] == long


def test_headers_larger_than_sixteen_kilobytes_come_in_one_frame_too() -> None:
    pair = Pair()
    long = (*REQUEST, (b"x-long", b"\xff" * 20_000))
    block = write_fields(long)
    pair.server.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    assert pair.server.fields[1] == long


def test_a_block_larger_than_the_peers_frames_leaves_in_several() -> None:
    pair = Pair()
    pair.open(1, ends=True)
    stream = pair.server.streams[1]
    long = write_fields([(b":status", b"200"), (b"x-long", b"v" * 60_000)])
    pair.client.decoder.max_header_list_size = 1 << 20
    pair.server.connection.send(stream, headers=long, trailers=ANSWER)
    kinds = [(kind, flags) for kind, flags, _, _ in pair.server.sent_frames()]
    whole, last = frames.END_HEADERS, frames.END_HEADERS | frames.END_STREAM
    continued = [(frames.CONTINUATION, 0)] * 2 + [(frames.CONTINUATION, whole)]
    assert kinds == [(frames.HEADERS, 0), *continued, (frames.HEADERS, last)]


def test_trailers_of_the_client_end_its_body() -> None:
    pair = Pair()
    sink = pair.open(1)
    pair.client.send_data(1, b"abc")
    pair.client.send_headers(1, [(b"x-check", b"1")], end_stream=True)
    pair.exchange()
    assert (bytes(sink.body), sink.has_ended) == (b"abc", True)


def test_an_answer_before_the_body_has_come_ends_the_stream_without_an_error() -> None:
    pair = Pair()
    sink = pair.open(1)
    pair.server.answer(1, b"early")
    pair.client.send_data(1, b"on its way already")
    pair.exchange()
    assert pair.bodies() == {1: b"early"}
    assert [event.error_code for event in pair.of(h2.events.StreamReset)] == [frames.NO_ERROR]
    assert not sink.body


def test_a_ping_is_answered_with_its_own_bytes() -> None:
    pair = Pair()
    pair.client.ping(b"12345678")
    pair.exchange()
    assert [event.ping_data for event in pair.of(h2.events.PingAckReceived)] == [b"12345678"]


def test_our_ping_is_answered() -> None:
    pair = Pair()
    pair.server.connection.ping()
    pair.exchange()
    assert len(pair.of(h2.events.PingReceived)) == 1


@pytest.mark.parametrize("ends", [False, True])
def test_a_reset_is_told_once_and_nothing_more_is_sent(ends: bool) -> None:
    pair = Pair()
    sink = pair.open(1, ends=ends)
    pair.client.reset_stream(1, frames.CANCEL)
    pair.exchange()
    assert len(sink.lost_texts) == 1
    pair.server.answer(1, b"too late")
    assert pair.server.sent() == b""
    assert pair.server.connection.stream_count == 0


def test_a_reset_in_the_middle_of_an_answer_frees_what_was_left_of_it() -> None:
    pair = Pair(acknowledges=False)
    sink, told = pair.open(1, ends=True), []
    pair.server.answer(1, BODY, on_sent=lambda: told.append(1))
    pair.exchange()
    pair.client.reset_stream(1)
    pair.exchange()
    assert len(sink.lost_texts) == 1
    assert not pair.server.streams[1].unsent
    assert not told


def test_we_reset_a_stream_and_its_sink_hears_nothing_more() -> None:
    pair = Pair()
    sink = pair.open(1)
    pair.server.connection.reset(pair.server.streams[1], frames.CANCEL)
    pair.client.send_data(1, b"x")
    pair.exchange()
    assert [event.error_code for event in pair.of(h2.events.StreamReset)] == [frames.CANCEL]
    assert (sink.body, sink.lost_texts) == (b"", [])


def test_streams_over_the_limit_are_refused_alone() -> None:
    pair = Pair(Http2Limits(max_streams=2))
    first, second = pair.open(1), pair.open(3)
    pair.client.remote_settings.update({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 10})
    pair.client.remote_settings.acknowledge()
    pair.client.send_headers(5, list(REQUEST))
    pair.exchange()
    assert [(e.stream_id, e.error_code) for e in pair.of(h2.events.StreamReset)] == [(5, frames.REFUSED_STREAM)]
    assert not first.lost_texts
    assert not second.lost_texts
    pair.server.answer(1)
    pair.client.end_stream(3)
    pair.client.send_headers(7, list(REQUEST))
    pair.exchange()
    assert 7 in pair.server.sinks


def test_after_we_shut_old_streams_are_answered_and_new_ones_refused() -> None:
    pair = Pair()
    pair.open(1, ends=True)
    pair.server.connection.shut()
    pair.server.connection.shut()
    pair.server.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, 3, write_fields(REQUEST)))
    pair.server.answer(1, b"the last")
    sent = pair.server.sent_frames()
    assert [kind for kind, *_ in sent].count(frames.GOAWAY) == 1
    assert (frames.RST_STREAM, 0, 3, frames.REFUSED_STREAM.to_bytes(4, "big")) in sent
    assert (frames.DATA, 0, 1, b"the last") in sent
    assert 3 not in pair.server.sinks


def test_a_client_that_goes_away_still_gets_its_answers() -> None:
    pair = Pair()
    pair.open(1, ends=True)
    pair.server.receive(frames.goaway(0, frames.NO_ERROR))
    pair.server.answer(1, b"the last")
    pair.exchange()
    assert pair.bodies() == {1: b"the last"}
