# SPDX-License-Identifier: Apache-2.0
"""What RFC 9113 forbids either side: each has its error code, ends every stream once, and the peer is told why."""

import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import HeadersTooLarge
from grpc_h2.http2.wire.frames import ACK, END_HEADERS, END_STREAM, HAS_PRIORITY, PADDED, frame
from grpc_h2.http2.wire.header_blocks import write_fields
from testkit.http2_client import HEADERS, TRAILERS, ClientSide, answer_frames, block_frame
from testkit.http2_pair import REQUEST, ServerSide, Side, headers_frame

BLOCK = write_fields(REQUEST)
OPEN = headers_frame(1)
ENDED = headers_frame(1, ends=True)
PROTOCOL, SIZE, FLOW = frames.PROTOCOL_ERROR, frames.FRAME_SIZE_ERROR, frames.FLOW_CONTROL_ERROR
CLOSED, COMPRESSION, CALM = frames.STREAM_CLOSED, frames.COMPRESSION_ERROR, frames.ENHANCE_YOUR_CALM


def setting(name: int, value: int) -> bytes:
    return frames.settings({name: value})


OF_CLIENTS = {
    "data on stream 0": (frame(frames.DATA, 0, 0, b"x"), PROTOCOL),
    "data on an idle stream": (frame(frames.DATA, 0, 3, b"x"), PROTOCOL),
    "data on an even stream": (frame(frames.DATA, 0, 2, b"x"), PROTOCOL),
    "data with nothing but padding announced": (OPEN + frame(frames.DATA, PADDED, 1, b"\x01"), PROTOCOL),
    "data with more padding than payload": (OPEN + frame(frames.DATA, PADDED, 1, b"\x05abcd"), PROTOCOL),
    "padded data without a pad length": (OPEN + frame(frames.DATA, PADDED, 1) + b"\0", PROTOCOL),
    "data beyond the window": (OPEN + frame(frames.DATA, 0, 1, bytes(65_536)), FLOW),
    "data larger than a frame may be": (OPEN + frames.head(frames.DATA, 0, 1, (4 << 20) + 1), SIZE),
    "headers on stream 0": (frame(frames.HEADERS, END_HEADERS, 0, BLOCK), PROTOCOL),
    "headers on an even stream": (frame(frames.HEADERS, END_HEADERS, 2, BLOCK), PROTOCOL),
    "headers on a stream that the peer has reset": (OPEN + frame(frames.RST_STREAM, 0, 1, bytes(4)) + ENDED, CLOSED),
    "headers on a stream that was left out": (headers_frame(5) + headers_frame(3), PROTOCOL),
    "headers with more padding than payload": (frame(frames.HEADERS, END_HEADERS | PADDED, 1, b"\x09abc"), PROTOCOL),
    "padded headers without a pad length": (frame(frames.HEADERS, END_HEADERS | PADDED, 1), PROTOCOL),
    "headers with half a priority": (frame(frames.HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"abc"), PROTOCOL),
    "headers larger than is read": (frames.head(frames.HEADERS, END_HEADERS, 1, 40_000), CALM),
    "a block larger than is read": (frame(frames.HEADERS, END_HEADERS, 1, bytes(32_769)), CALM),
    "a header list larger than is read": (frame(frames.HEADERS, END_HEADERS, 1, b"\x82" * 1000), CALM),
    "an index that is none": (frame(frames.HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION),
    "an index beyond the table": (frame(frames.HEADERS, END_HEADERS, 1, b"\xfe"), COMPRESSION),
    "half a literal": (frame(frames.HEADERS, END_HEADERS, 1, b"\0\x7f"), COMPRESSION),
    "a table larger than allowed": (frame(frames.HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\x03"), COMPRESSION),
    "continuation of nothing": (frame(frames.CONTINUATION, END_HEADERS, 1, BLOCK), PROTOCOL),
    "a block interrupted by another frame": (frame(frames.HEADERS, 0, 1, BLOCK) + frame(6, 0, 0, bytes(8)), PROTOCOL),
    "a block continued on another stream": (
        frame(frames.HEADERS, 0, 1, BLOCK) + frame(frames.CONTINUATION, END_HEADERS, 3),
        PROTOCOL,
    ),
    "too many continuations": (frame(frames.HEADERS, 0, 1) + frame(frames.CONTINUATION, 0, 1) * 17, CALM),
    "too long continuations": (frame(frames.HEADERS, 0, 1) + frame(frames.CONTINUATION, 0, 1, bytes(11_000)) * 3, CALM),
    "priority of a wrong length": (frame(frames.PRIORITY, 0, 1, bytes(4)), SIZE),
    "priority on stream 0": (frame(frames.PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "reset of a wrong length": (OPEN + frame(frames.RST_STREAM, 0, 1, bytes(3)), SIZE),
    "reset of an idle stream": (frame(frames.RST_STREAM, 0, 1, bytes(4)), PROTOCOL),
    "reset of stream 0": (frame(frames.RST_STREAM, 0, 0, bytes(4)), PROTOCOL),
    "settings on a stream": (frame(frames.SETTINGS, 0, 1), PROTOCOL),
    "settings of a wrong length": (frame(frames.SETTINGS, 0, 0, bytes(5)), SIZE),
    "an acknowledgement with settings": (frame(frames.SETTINGS, ACK, 0, bytes(6)), SIZE),
    "a window that is too large": (setting(frames.INITIAL_WINDOW_SIZE, 1 << 31), FLOW),
    "a frame size that is too small": (setting(frames.MAX_FRAME_SIZE, 16_383), PROTOCOL),
    "a frame size that is too large": (setting(frames.MAX_FRAME_SIZE, 1 << 24), PROTOCOL),
    "push neither on nor off": (setting(frames.ENABLE_PUSH, 2), PROTOCOL),
    "windows that become too large by settings": (
        OPEN + frames.window_update(1, 2**31 - 70_000) + setting(frames.INITIAL_WINDOW_SIZE, 100_000),
        FLOW,
    ),
    "a push promise": (OPEN + frame(frames.PUSH_PROMISE, END_HEADERS, 1, bytes(4)), PROTOCOL),
    "ping on a stream": (frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
    "ping of a wrong length": (frame(frames.PING, 0, 0, bytes(7)), SIZE),
    "goaway on a stream": (frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "goaway of a wrong length": (frame(frames.GOAWAY, 0, 0, bytes(7)), SIZE),
    "a window update of the connection of nothing": (frames.window_update(0, 0), PROTOCOL),
    "a window update of a wrong length": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "a window update of an idle stream": (frames.window_update(1, 1), PROTOCOL),
    "a connection window that is too large": (frames.window_update(0, 2**31 - 1), FLOW),
    "an unknown frame that is too large": (frames.head(0xFA, 0, 0, 16_385), SIZE),
}
OF_SERVERS = {
    "first no SETTINGS": (frame(frames.PING, 0, 0, bytes(8)), PROTOCOL),
    "a push": (frames.settings({}) + frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL),
    "headers of no stream of ours": (frames.settings({}) + block_frame(7, HEADERS), PROTOCOL),
    "headers of a stream of theirs": (frames.settings({}) + block_frame(2, HEADERS), PROTOCOL),
    "data of no stream of ours": (frames.settings({}) + frame(frames.DATA, 0, 5, b"x"), PROTOCOL),
    "a damaged block": (frames.settings({}) + frame(frames.HEADERS, 4, 1, b"\xff" * 9), COMPRESSION),
    "a ping on a stream": (frames.settings({}) + frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
    "a window that overflows": (frames.settings({}) + frames.window_update(0, 2**31 - 1), FLOW),
    "a short goaway": (frames.settings({}) + frame(frames.GOAWAY, 0, 0, bytes(7)), SIZE),
    "a server that wants pushes": (frames.settings({frames.ENABLE_PUSH: 1}), PROTOCOL),
    "too large headers": (
        frames.settings({}) + block_frame(1, (*HEADERS, (b"x", bytes(33_000)))),
        CALM,
    ),
    "HTTP/1": (b"HTTP/1.1 400 Bad Request\r\n\r\n", SIZE),
}


@pytest.mark.parametrize(
    ("data", "code", "of_client"),
    [pytest.param(*fault, True, id=name) for name, fault in OF_CLIENTS.items()]
    + [pytest.param(*fault, False, id=name) for name, fault in OF_SERVERS.items()],
)
def test_a_fault_ends_the_connection_with_its_code_and_every_stream_once(
    data: bytes, code: int, of_client: bool
) -> None:
    side: Side
    if of_client:
        side = ServerSide().greeted()
    else:
        side = client = ClientSide()
        client.ask(b"x")
        client.ask(b"y")
    side.sent()
    fault = side.fault_of(data)
    assert fault is not None
    assert fault.code == code
    assert side.connection.stream_count == 0
    kind, _, _, payload = side.sent_frames()[-1]
    # Too large headers of a client are answered, and a peer told of a fault might drop the answer.
    told = frames.NO_ERROR if of_client and isinstance(fault, HeadersTooLarge) else code
    assert (kind, int.from_bytes(payload[4:8], "big")) == (frames.GOAWAY, told)
    assert payload[8:].decode() == fault.text
    side.connection.end("the connection is gone")
    assert [len(sink.lost_texts) for sink in side.all_sinks()] == [1] * len(side.all_sinks())
    if not of_client:
        assert [(sink.lost_texts, sink.codes) for sink in client.sinks] == [([fault.text], [])] * 2
        assert not client.connection.usable


# --- of clients -----------------------------------------------------------------------------

STREAM_ERRORS = {
    "data after the end": (ENDED + frame(frames.DATA, 0, 1, b"x"), CLOSED),
    "headers after the end": (ENDED + ENDED, CLOSED),
    "headers in the middle of a stream": (OPEN + OPEN, PROTOCOL),
    "a window update of nothing": (OPEN + frames.window_update(1, 0), PROTOCOL),
    "a window that is too large": (OPEN + frames.window_update(1, 2**31 - 1), FLOW),
    "a priority that depends on its own stream": (OPEN + frame(frames.PRIORITY, 0, 1, b"\0\0\0\1\0"), PROTOCOL),
}


@pytest.mark.parametrize(("data", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS)
def test_a_fault_on_a_stream_ends_that_alone_and_is_told(data: bytes, code: int) -> None:
    server = ServerSide().greeted()
    assert server.fault_of(data + headers_frame(3)) is None
    assert (frames.RST_STREAM, 0, 1, code.to_bytes(4, "big")) in server.sent_frames()
    assert len(server.sinks[1].lost_texts) == 1
    assert set(server.connection._streams) == {3}
    assert len(server.faults) == 1


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", frames.PREFACE + frame(frames.PING, 0, 0, bytes(8)), b"PRI * HTTP/2.0\r\n\r\nXX"],
    ids=["another protocol", "no settings first", "half a preface"],
)
def test_who_does_not_introduce_himself_is_refused(data: bytes) -> None:
    fault = ServerSide().fault_of(data)
    assert fault is not None
    assert fault.code == PROTOCOL


BORNE = {
    "an unknown kind of frame": frame(0xFA, 0xFF, 1, b"what?"),
    "an unknown setting": frames.settings({0x9999: 1}),
    "a priority": frame(frames.PRIORITY, 0, 99, bytes(5)),
    "a window update of an ended stream": frames.window_update(1, 5),
    "a reset of an ended stream": frame(frames.RST_STREAM, 0, 1, bytes(4)),
    "data of an ended stream": frame(frames.DATA, 0, 1, b"late"),
    "trailers of an ended stream": headers_frame(1, ends=True),
    "a goaway": frames.goaway(0, 0, "bye"),
    "the bit that is reserved": frame(frames.DATA, 0, 1 | 1 << 31, b"late"),
}


@pytest.mark.parametrize("data", BORNE.values(), ids=BORNE)
def test_what_the_rfc_allows_is_borne(data: bytes) -> None:
    server = ServerSide().greeted(OPEN)
    server.connection.reset(server.streams[1], frames.CANCEL)
    assert server.fault_of(data) is None
    assert server.fault_of(headers_frame(3)) is None
    assert set(server.sinks) == {1, 3}
    assert server.sinks[1].body == b""


def test_headers_with_priority_and_padding_are_read() -> None:
    payload = b"\x03" + bytes(5) + BLOCK + bytes(3)
    server = ServerSide().greeted(frame(frames.HEADERS, END_HEADERS | END_STREAM | PADDED | HAS_PRIORITY, 1, payload))
    assert server.fields[1] == REQUEST
    assert server.sinks[1].has_ended


def test_a_stream_window_that_is_too_large_ends_that_stream_only() -> None:
    server = ServerSide().greeted(OPEN + headers_frame(3) + frames.window_update(1, 2**31 - 1))
    assert len(server.sinks[1].lost_texts) == 1
    assert not server.sinks[3].lost_texts
    assert (frames.RST_STREAM, 0, 1, FLOW.to_bytes(4, "big")) in server.sent_frames()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frames.head(frames.HEADERS, END_HEADERS, 1, 40_000), id="a frame"),
        pytest.param(frame(frames.HEADERS, END_HEADERS, 1, bytes(32_769)), id="a block"),
        pytest.param(frame(frames.HEADERS, END_HEADERS, 1, b"\x82" * 1000), id="a list"),
    ],
)
def test_headers_that_are_too_large_are_answered_before_the_connection_ends(data: bytes) -> None:
    server = ServerSide().greeted()
    server.sent()
    fault = server.fault_of(data)
    assert fault is not None
    answer = frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, Http2Limits().too_large_answer)
    assert server.sent() == answer + frames.goaway(1, frames.NO_ERROR, fault.text)


# --- of servers -----------------------------------------------------------------------------

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
    assert (bytes(other.body), other.has_ended) == (b"fine", True)
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
    assert (bytes(server.sinks[1].body), server.sinks[1].has_ended) == (b"question", True)
    server.answer(1, b"answer")
    client.receive(server.sent())
    assert (bytes(answer.body), answer.has_ended) == (b"answer", True)
    assert (server.connection.stream_count, client.connection.stream_count) == (0, 0)


def test_an_answers_content_length_that_is_right_is_fine_and_so_are_interim_answers() -> None:
    client = ClientSide().greeted()
    answer = client.ask(b"x")
    client.receive(block_frame(1, ((b":status", b"103"), (b"content-length", b"9"))))
    client.receive(block_frame(1, (*HEADERS, (b"content-length", b"4"))) + frame(frames.DATA, 0, 1, b"fine"))
    client.receive(block_frame(1, TRAILERS, ends=True))
    assert (bytes(answer.body), answer.has_ended, client.faults) == (b"fine", True, [])


def test_what_comes_late_on_a_stream_that_we_gave_up_is_left_alone() -> None:
    client = ClientSide().greeted()
    client.ask(b"x")
    client.connection.reset(client.streams[0], frames.CANCEL)
    client.receive(answer_frames(1, b"late") + frame(frames.RST_STREAM, 0, 1, bytes(4)) + frames.window_update(1, 5))
    other = client.ask(b"y")
    client.receive(answer_frames(3, b"fine"))
    assert (bytes(other.body), client.faults) == (b"fine", [])


def test_a_servers_goaway_in_two_steps_loses_no_request() -> None:
    client = ClientSide().greeted()
    first, second = client.ask(b"x"), client.ask(b"y")
    client.receive(frames.goaway(frames.MAX_STREAM_ID, frames.NO_ERROR) + frame(frames.PING, 0, 0, b"draining"))
    assert (frames.PING, frames.ACK, 0, b"draining") in client.sent_frames()
    assert not client.connection.usable
    client.receive(frames.goaway(3, frames.NO_ERROR) + answer_frames(1, b"one") + answer_frames(3, b"two"))
    assert (bytes(first.body), bytes(second.body), client.drained_count) == (b"one", b"two", 1)
