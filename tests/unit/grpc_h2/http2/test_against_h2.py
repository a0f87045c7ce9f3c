# SPDX-License-Identifier: Apache-2.0
"""Whole exchanges, either side ours, with the library h2, which knows the RFC on its own."""

from collections.abc import Callable
from typing import TypeAlias

import h2.events
import h2.settings
import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import Fields, write_fields
from h2.settings import SettingCodes
from testkit.http2_client import HEADERS, TRAILERS, ServedPair
from testkit.http2_pair import ANSWER, REQUEST, Exchange, Pair

BODY = bytes(range(256)) * 1000
Make: TypeAlias = Callable[..., Exchange]


# --- what both sides do alike ---------------------------------------------------------------

SIDES = pytest.mark.parametrize("make", [Pair, ServedPair], ids=["server", "client"])


@SIDES
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("padding", [None, 0, 200, 255])
def test_bodies_arrive_whole_both_ways(make: Make, in_place: bool, padding: int | None) -> None:
    pair = make(in_place=in_place)
    sink = pair.converse(BODY, padding=padding)
    assert sink.body == BODY
    assert sink.has_ended
    assert not sink.lost_texts
    assert pair.bodies() == {1: BODY}
    assert len(pair.of(h2.events.StreamEnded)) == 1
    assert pair.ours.connection.stream_count == 0


def test_a_request_its_answer_and_the_trailers_are_what_they_were() -> None:
    served, asked = Pair(), ServedPair()
    for pair in (served, asked):
        pair.converse(b"some body", padding=None)
    assert served.of(h2.events.TrailersReceived)[0].headers == [(b"grpc-status", b"0")]
    (request,) = asked.of(h2.events.RequestReceived)
    assert tuple(request.headers) == REQUEST
    assert asked.blocks == [HEADERS, TRAILERS]


@pytest.mark.parametrize(("make", "fields"), [(Pair, REQUEST), (ServedPair, HEADERS)], ids=["server", "client"])
def test_headers_in_many_frames_are_put_together(make: Make, fields: Fields) -> None:
    pair = make()
    pair.theirs.max_outbound_frame_size = 1000
    if make is ServedPair:
        pair.begin()
    long = (*fields, (b"x-long", bytes(33 + i % 90 for i in range(14_000))))
    pair.theirs.send_headers(1, list(long), end_stream=True)
    pair.exchange()
    assert pair.blocks == [long]


@SIDES
def test_pings_are_answered_both_ways(make: Make) -> None:
    pair = make()
    pair.theirs.ping(b"12345678")
    pair.ours.connection.ping()
    pair.exchange()
    assert [event.ping_data for event in pair.of(h2.events.PingAckReceived)] == [b"12345678"]
    assert len(pair.of(h2.events.PingReceived)) == 1


@SIDES
def test_we_reset_a_stream_and_its_sink_hears_nothing_of_what_is_on_its_way(make: Make) -> None:
    pair = make()
    sink = pair.begin()
    if make is ServedPair:
        pair.theirs.send_headers(1, list(HEADERS))
    pair.theirs.send_data(1, b"late")
    pair.reset()
    pair.ours.receive(pair.theirs.data_to_send())
    reset = pair.ours.sent()
    assert frames.rst_stream(1, frames.CANCEL) in reset
    pair.events += pair.theirs.receive_data(reset)
    assert [event.error_code for event in pair.of(h2.events.StreamReset)] == [frames.CANCEL]
    assert (bytes(sink.body), sink.has_ended, sink.lost_texts) == (b"", False, [])
    if make is ServedPair:
        assert pair.blocks == []


# --- our server and a client of h2's --------------------------------------------------------


def test_the_client_learns_our_limits_and_its_settings_are_acknowledged() -> None:
    pair = Pair(Http2Limits(max_streams=7, max_header_bytes=5000, max_frame_bytes=100_000))
    remote = pair.client.remote_settings
    assert (remote.max_concurrent_streams, remote.max_header_list_size, remote.max_frame_size) == (7, 5000, 100_000)
    assert len(pair.of(h2.events.SettingsAcknowledged)) == 1
    assert pair.client.outbound_flow_control_window == Http2Limits().connection_window_bytes


def test_headers_are_read_with_a_table_that_both_sides_keep() -> None:
    pair = Pair(Http2Limits(max_streams=1000))
    for stream_id in range(1, 400, 2):
        fields = (*REQUEST, (b"x-now-and-then", str(stream_id // 7).encode()))
        pair.client.send_headers(stream_id, list(fields))
        pair.exchange()
        assert pair.server.fields[stream_id] == fields


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


# --- our client and a server of h2's --------------------------------------------------------


def test_the_server_learns_our_settings_and_its_own_are_acknowledged() -> None:
    pair = ServedPair()
    remote = pair.server.remote_settings
    assert (remote.enable_push, remote.initial_window_size) == (0, frames.MAX_WINDOW_BYTES)
    assert len(pair.of(h2.events.SettingsAcknowledged)) == 1
    assert pair.server.outbound_flow_control_window == frames.MAX_WINDOW_BYTES


def test_streams_have_odd_rising_numbers() -> None:
    pair = ServedPair()
    for _ in range(3):
        pair.client.ask(b"x")
    pair.exchange()
    assert [event.stream_id for event in pair.of(h2.events.RequestReceived)] == [1, 3, 5]


def test_an_answer_of_trailers_alone_is_one() -> None:
    pair = ServedPair()
    answer = pair.client.ask(b"x")
    pair.exchange()
    pair.server.send_headers(1, [*HEADERS, (b"grpc-status", b"5")], end_stream=True)
    pair.exchange()
    assert answer.blocks == [(*HEADERS, (b"grpc-status", b"5"))]
    assert answer.has_ended


def test_interim_answers_say_nothing() -> None:
    pair = ServedPair()
    answer = pair.client.ask(b"x")
    pair.exchange()
    for status in (b"100", b"103"):
        pair.server.send_headers(1, [(b":status", status)])
    pair.answer(1, b"body")
    assert answer.blocks == [HEADERS, TRAILERS]
    assert answer.has_ended


def test_no_more_streams_are_open_than_the_server_allows_and_the_others_follow_in_order() -> None:
    pair = ServedPair({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    answers = [pair.client.ask(bytes([i])) for i in range(5)]
    pair.exchange()
    assert sorted(pair.bodies()) == [1, 3]
    pair.answer(3, b"done")
    assert sorted(pair.bodies()) == [1, 3, 5]
    pair.client.connection.reset(pair.client.streams[0], frames.CANCEL)
    pair.exchange()
    assert pair.bodies() == {1: b"\0", 3: b"\1", 5: b"\2", 7: b"\3"}
    pair.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 10})
    pair.exchange()
    assert pair.bodies()[9] == b"\4"
    assert [answer.is_over for answer in answers] == [False, True, False, False, False]


def test_a_request_that_waits_can_be_given_up_and_nothing_of_it_is_sent() -> None:
    pair = ServedPair({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    pair.client.ask(b"first")
    given_up = pair.client.ask(b"second")
    pair.client.ask(b"third")
    pair.client.connection.reset(pair.client.streams[1], frames.CANCEL)
    pair.client.connection.reset(pair.client.streams[1], frames.CANCEL)
    pair.exchange()
    pair.answer(1, b"")
    assert pair.bodies() == {1: b"first", 3: b"third"}
    assert pair.of(h2.events.StreamReset) == []
    assert not given_up.is_over


def test_a_body_trickles_through_a_tiny_window() -> None:
    pair = ServedPair({SettingCodes.INITIAL_WINDOW_SIZE: 7})
    pair.client.ask(b"some", BODY[:1000])
    pair.exchange()
    assert pair.bodies() == {1: b"some" + BODY[:1000]}
    assert len(pair.of(h2.events.StreamEnded)) == 1


def test_windows_are_kept_to_and_the_rest_follows_when_they_open() -> None:
    pair = ServedPair({SettingCodes.INITIAL_WINDOW_SIZE: 100}, acknowledges=False)
    pair.client.ask(BODY)
    pair.client.ask(BODY)
    pair.exchange()
    assert {key: len(value) for key, value in pair.bodies().items()} == {1: 100, 3: 100}
    pair.server.increment_flow_control_window(1 << 20)
    pair.server.increment_flow_control_window(1 << 20, 3)
    pair.exchange()
    assert {key: len(value) for key, value in pair.bodies().items()} == {1: 100, 3: len(BODY)}


@pytest.mark.parametrize("code", [frames.REFUSED_STREAM, frames.CANCEL, frames.PROTOCOL_ERROR])
def test_a_reset_is_told_once_with_its_code(code: int) -> None:
    pair = ServedPair()
    answer, other = pair.client.ask(b"x"), pair.client.ask(b"y")
    pair.exchange()
    pair.server.reset_stream(1, code)
    pair.exchange()
    assert answer.codes == [code]
    pair.answer(3, b"fine")
    assert other.body == b"fine"


def test_an_answer_before_the_request_is_sent_ends_the_stream_and_the_request() -> None:
    pair = ServedPair({SettingCodes.INITIAL_WINDOW_SIZE: 10}, acknowledges=False)
    answer = pair.client.ask(BODY)
    pair.exchange()
    pair.answer(1, b"enough")
    assert (bytes(answer.body), answer.has_ended) == (b"enough", True)
    assert [event.error_code for event in pair.of(h2.events.StreamReset)] == [frames.CANCEL]
    assert not pair.client.streams[0].unsent


def test_after_goaway_what_the_server_took_is_answered_and_the_rest_is_lost() -> None:
    pair = ServedPair({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    taken, late, waiting = (pair.client.ask(b"x") for _ in range(3))
    pair.exchange()
    pair.client.receive(frames.goaway(1, frames.NO_ERROR))
    assert not pair.client.connection.usable
    assert (len(late.lost_texts), len(waiting.lost_texts)) == (1, 1)
    assert pair.client.drained_count == 0
    pair.answer(1, b"the last")
    assert taken.body == b"the last"
    assert pair.client.drained_count == 1


def test_an_idle_connection_is_drained_as_soon_as_the_server_goes_away() -> None:
    pair = ServedPair()
    pair.server.close_connection()
    pair.exchange()
    assert pair.client.drained_count == 1


def test_a_connection_with_no_numbers_left_takes_no_more_requests() -> None:
    pair = ServedPair()
    pair.client.connection._next_id = frames.MAX_STREAM_ID - (1 << 20)
    assert not pair.client.connection.usable
