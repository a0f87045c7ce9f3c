# SPDX-License-Identifier: Apache-2.0
"""What a server may not do: alone on a stream it ends that, else the connection, and everybody hears of it."""

import pytest
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.frames import frame
from grpc_h2.http2.wire.header_blocks import write_fields
from testkit.http2_client import HEADERS, TRAILERS, ClientSide, answer_frames, block_frame
from testkit.http2_pair import ServerSide

FAULTS = {
    "first no SETTINGS": (frame(frames.PING, 0, 0, bytes(8)), frames.PROTOCOL_ERROR),
    "a push": (frames.settings({}) + frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), frames.PROTOCOL_ERROR),
    "headers of no stream of ours": (frames.settings({}) + block_frame(7, HEADERS), frames.PROTOCOL_ERROR),
    "headers of a stream of theirs": (frames.settings({}) + block_frame(2, HEADERS), frames.PROTOCOL_ERROR),
    "data of no stream of ours": (frames.settings({}) + frame(frames.DATA, 0, 5, b"x"), frames.PROTOCOL_ERROR),
    "a damaged block": (frames.settings({}) + frame(frames.HEADERS, 4, 1, b"\xff" * 9), frames.COMPRESSION_ERROR),
    "a ping on a stream": (frames.settings({}) + frame(frames.PING, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
    "a window that overflows": (frames.settings({}) + frames.window_update(0, 2**31 - 1), frames.FLOW_CONTROL_ERROR),
    "a short goaway": (frames.settings({}) + frame(frames.GOAWAY, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
    "a server that wants pushes": (frames.settings({frames.ENABLE_PUSH: 1}), frames.PROTOCOL_ERROR),
    "too large headers": (
        frames.settings({}) + block_frame(1, (*HEADERS, (b"x", bytes(33_000)))),
        frames.ENHANCE_YOUR_CALM,
    ),
    "HTTP/1": (b"HTTP/1.1 400 Bad Request\r\n\r\n", frames.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize(("data", "code"), FAULTS.values(), ids=FAULTS)
def test_a_fault_ends_the_connection_and_every_request(data: bytes, code: int) -> None:
    client = ClientSide()
    sinks = [client.ask(b"x"), client.ask(b"y")]
    fault = client.fault_of(data)
    assert fault is not None
    assert fault.code == code
    assert [sink.lost_texts for sink in sinks] == [[fault.text], [fault.text]]
    assert [sink.codes for sink in sinks] == [[], []]
    assert not client.connection.usable
    assert frames.GOAWAY in [kind for kind, *_ in client.sent_frames()]
    client.connection.end("the connection is gone")


FOREIGN = {
    "HTTP/1.1": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "HTML": b"\r\n<!DOCTYPE html><html></html>",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46\x00\x00",
    "no HTTP/2": b"220 mail.example ESMTP ready\r\n",
}


@pytest.mark.parametrize(("name", "data"), FOREIGN.items(), ids=FOREIGN)
def test_what_a_peer_speaks_instead_is_told_by_its_first_bytes(name: str, data: bytes) -> None:
    fault = ClientSide().fault_of(data)
    assert fault is not None
    assert fault.text == f"the peer speaks {name}"


BROKEN = {
    "data before headers": frame(frames.DATA, 0, 1, b"x"),
    "the end before headers": frame(frames.DATA, frames.END_STREAM, 1),
    "no status": block_frame(1, TRAILERS),
    "an interim answer that is the last": block_frame(1, ((b":status", b"103"),), ends=True),
    "headers in the middle": block_frame(1, HEADERS) + block_frame(1, TRAILERS),
    "a status that is no number": block_frame(1, ((b":status", b"ok"),)),
    "two statuses": block_frame(1, ((b":status", b"200"), (b":status", b"200"))),
    "a pseudo-header of requests": block_frame(1, ((b":status", b"200"), (b":path", b"/"))),
    "a pseudo-header after other fields": block_frame(1, ((b"x-a", b"1"), (b":status", b"200"))),
    "an upper-case name": block_frame(1, (*HEADERS, (b"X-A", b"1"))),
    "a value with a line's end": block_frame(1, (*HEADERS, (b"x-a", b"1\r\n2"))),
    "a connection's own field": block_frame(1, (*HEADERS, (b"connection", b"close"))),
    "a pseudo-header in trailers": block_frame(1, HEADERS) + block_frame(1, HEADERS, ends=True),
    "a body longer than content-length": block_frame(1, (*HEADERS, (b"content-length", b"1")))
    + frame(frames.DATA, 0, 1, b"ab"),
    "a body shorter than content-length": block_frame(1, (*HEADERS, (b"content-length", b"3")))
    + frame(frames.DATA, 0, 1, b"ab")
    + block_frame(1, TRAILERS, ends=True),
    "no body but a content-length": block_frame(1, (*HEADERS, (b"content-length", b"3")), ends=True),
    "headers that depend on themselves": frame(
        frames.HEADERS, frames.END_HEADERS | frames.HAS_PRIORITY, 1, b"\0\0\0\1\0" + write_fields(HEADERS)
    ),
    "a window of nothing": frames.window_update(1, 0),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_is_none_ends_its_stream_alone(data: bytes) -> None:
    client = ClientSide().greeted()
    broken, other = client.ask(b"x"), client.ask(b"y")
    client.receive(data + frame(frames.DATA, 0, 1, b"more") + block_frame(1, TRAILERS, ends=True))
    client.receive(answer_frames(3, b"fine"))
    assert broken.codes == [frames.PROTOCOL_ERROR]
    assert len(client.faults) == 1
    assert (other.body, other.has_ended) == (b"fine", True)
    resets = [frame for frame in client.sent_frames() if frame[0] == frames.RST_STREAM]
    assert resets == [(frames.RST_STREAM, 0, 1, frames.PROTOCOL_ERROR.to_bytes(4, "big"))]


def test_nothing_is_asked_before_the_servers_settings_are_known() -> None:
    client = ClientSide()
    client.ask(b"x")
    assert client.sent().startswith(frames.PREFACE + frames.head(frames.SETTINGS, 0, 0, 24))
    client.receive(frames.settings({frames.MAX_CONCURRENT_STREAMS: 0}))
    assert [kind for kind, *_ in client.sent_frames()] == [frames.SETTINGS]
    client.receive(frames.settings({frames.MAX_CONCURRENT_STREAMS: 1}))
    assert [kind for kind, *_ in client.sent_frames()][-3:] == [frames.HEADERS, frames.DATA, frames.DATA]


def test_a_lost_connection_is_told_to_all_once_and_those_that_wait_too() -> None:
    client = ClientSide().greeted({frames.MAX_CONCURRENT_STREAMS: 1})
    sinks = [client.ask(b"x") for _ in range(3)]
    client.connection.end("gone")
    client.connection.end("gone")
    assert [sink.lost_texts for sink in sinks] == [["gone"]] * 3
    assert client.connection.stream_count == 0


def test_while_the_transport_is_paused_a_request_waits() -> None:
    client = ClientSide().greeted()
    client.sent()
    client.connection.pause()
    client.ask(b"x")
    assert client.sent() == b""
    client.connection.resume()
    assert [kind for kind, *_ in client.sent_frames()] == [frames.HEADERS, frames.DATA, frames.DATA]


def test_our_own_server_takes_the_request_and_its_answer_comes_back() -> None:
    client, server = ClientSide(), ServerSide()
    server.connection.greet()
    answer = client.ask(b"question")
    while (there := client.sent()) + (back := server.sent()):
        server.receive(there)
        client.receive(back)
    assert (server.sinks[1].body, server.sinks[1].has_ended) == (b"question", True)
    server.answer(1, b"answer")
    client.receive(server.sent())
    assert (answer.body, answer.has_ended) == (b"answer", True)
    assert (server.connection.stream_count, client.connection.stream_count) == (0, 0)


def test_an_answers_content_length_that_is_right_is_fine_and_so_are_interim_answers() -> None:
    client = ClientSide().greeted()
    answer = client.ask(b"x")
    client.receive(block_frame(1, ((b":status", b"103"), (b"content-length", b"9"))))
    client.receive(block_frame(1, (*HEADERS, (b"content-length", b"4"))) + frame(frames.DATA, 0, 1, b"fine"))
    client.receive(block_frame(1, TRAILERS, ends=True))
    assert (answer.body, answer.has_ended, client.faults) == (b"fine", True, [])


def test_what_comes_late_on_a_stream_that_we_gave_up_is_left_alone() -> None:
    client = ClientSide().greeted()
    client.ask(b"x")
    client.connection.reset(client.streams[0], frames.CANCEL)
    client.receive(answer_frames(1, b"late") + frame(frames.RST_STREAM, 0, 1, bytes(4)) + frames.window_update(1, 5))
    other = client.ask(b"y")
    client.receive(answer_frames(3, b"fine"))
    assert (other.body, client.faults) == (b"fine", [])


def test_a_servers_goaway_in_two_steps_loses_no_request() -> None:
    client = ClientSide().greeted()
    first, second = client.ask(b"x"), client.ask(b"y")
    client.receive(frames.goaway(frames.MAX_STREAM_ID, frames.NO_ERROR) + frame(frames.PING, 0, 0, b"draining"))
    assert (frames.PING, frames.ACK, 0, b"draining") in client.sent_frames()
    assert not client.connection.usable
    client.receive(frames.goaway(3, frames.NO_ERROR) + answer_frames(1, b"one") + answer_frames(3, b"two"))
    assert (first.body, second.body, client.drained_count) == (b"one", b"two", 1)
