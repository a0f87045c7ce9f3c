# SPDX-License-Identifier: Apache-2.0
"""Whole exchanges of our client with a server of the library h2, which knows the RFC on its own."""

import h2.events
import pytest
from grpc_h2.http2.wire import frames
from h2.settings import SettingCodes
from testkit.http2_client import HEADERS, TRAILERS, ServedPair
from testkit.http2_pair import REQUEST

BODY = bytes(range(256)) * 1000


def test_the_server_learns_our_settings_and_its_own_are_acknowledged() -> None:
    pair = ServedPair()
    remote = pair.server.remote_settings
    assert (remote.enable_push, remote.initial_window_size) == (0, frames.MAX_WINDOW_BYTES)
    assert len(pair.of(h2.events.SettingsAcknowledged)) == 1
    assert pair.server.outbound_flow_control_window == frames.MAX_WINDOW_BYTES


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("padding", [None, 0, 200])
def test_a_request_arrives_whole_and_so_does_its_answer(in_place: bool, padding: int | None) -> None:
    pair = ServedPair(in_place=in_place)
    answer = pair.client.ask(b"some", BODY, b"", b"more")
    pair.exchange()
    (request,) = pair.of(h2.events.RequestReceived)
    assert tuple(request.headers) == REQUEST
    assert pair.bodies() == {1: b"some" + BODY + b"more"}
    assert len(pair.of(h2.events.StreamEnded)) == 1
    pair.answer(1, BODY, padding=padding)
    assert answer.body == BODY
    assert answer.blocks == [HEADERS, TRAILERS]
    assert answer.has_ended
    assert pair.client.connection.stream_count == 0


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


def test_we_reset_a_stream_and_its_sink_hears_nothing_of_what_is_on_its_way() -> None:
    pair = ServedPair()
    answer = pair.client.ask(b"x")
    pair.exchange()
    pair.server.send_headers(1, list(HEADERS))
    pair.server.send_data(1, b"late")
    pair.server.send_headers(1, list(TRAILERS), end_stream=True)
    pair.client.connection.reset(pair.client.streams[0], frames.CANCEL)
    pair.client.receive(pair.server.data_to_send())
    assert not answer.is_over
    assert (answer.body, answer.blocks) == (b"", [])
    assert (frames.RST_STREAM, 0, 1, frames.CANCEL.to_bytes(4, "big")) in pair.client.sent_frames()


def test_an_answer_before_the_request_is_sent_ends_the_stream_and_the_request() -> None:
    pair = ServedPair({SettingCodes.INITIAL_WINDOW_SIZE: 10}, acknowledges=False)
    answer = pair.client.ask(BODY)
    pair.exchange()
    pair.answer(1, b"enough")
    assert (answer.body, answer.has_ended) == (b"enough", True)
    assert [event.error_code for event in pair.of(h2.events.StreamReset)] == [frames.CANCEL]
    assert not pair.client.streams[0].unsent


def test_pings_are_answered_both_ways() -> None:
    pair = ServedPair()
    pair.server.ping(b"12345678")
    pair.client.connection.ping()
    pair.exchange()
    assert [event.ping_data for event in pair.of(h2.events.PingAckReceived)] == [b"12345678"]
    assert len(pair.of(h2.events.PingReceived)) == 1


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


def test_headers_in_many_frames_are_put_together() -> None:
    pair = ServedPair()
    pair.server.max_outbound_frame_size = 1000
    answer = pair.client.ask(b"x")
    pair.exchange()
    long = (*HEADERS, (b"x-long", bytes(33 + i % 90 for i in range(14_000))))
    pair.server.send_headers(1, list(long), end_stream=True)
    pair.exchange()
    assert answer.blocks == [long]


def test_a_connection_with_no_numbers_left_takes_no_more_requests() -> None:
    pair = ServedPair()
    pair.client.connection._next_id = frames.MAX_STREAM_ID - (1 << 20)
    assert not pair.client.connection.usable
