# SPDX-License-Identifier: Apache-2.0
"""What RFC 9113 forbids: each has its error code, ends every stream once, and the peer is told why."""

import pytest
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import HeadersTooLarge
from grpc_h2.http2.wire.frames import ACK, END_HEADERS, END_STREAM, HAS_PRIORITY, PADDED, frame
from grpc_h2.http2.wire.header_blocks import write_fields
from testkit.http2_pair import REQUEST, ServerSide, headers_frame

BLOCK = write_fields(REQUEST)
OPEN = headers_frame(1)
ENDED = headers_frame(1, ends=True)
PROTOCOL, SIZE, FLOW = frames.PROTOCOL_ERROR, frames.FRAME_SIZE_ERROR, frames.FLOW_CONTROL_ERROR
CLOSED, COMPRESSION, CALM = frames.STREAM_CLOSED, frames.COMPRESSION_ERROR, frames.ENHANCE_YOUR_CALM


def setting(name: int, value: int) -> bytes:
    return frames.settings({name: value})


FAULTS = {
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


@pytest.mark.parametrize(("data", "code"), FAULTS.values(), ids=FAULTS)
def test_a_fault_ends_the_connection_with_its_code(data: bytes, code: int) -> None:
    server = ServerSide().greeted()
    server.sent()
    fault = server.fault_of(data)
    assert fault is not None
    assert fault.code == code
    assert server.connection.stream_count == 0
    assert [len(sink.lost_texts) for sink in server.sinks.values()] == [1] * len(server.sinks)
    kind, _, _, payload = server.sent_frames()[-1]
    # Too large headers are answered, and a peer told of a fault might drop the answer.
    told = frames.NO_ERROR if isinstance(fault, HeadersTooLarge) else code
    assert (kind, int.from_bytes(payload[4:8], "big")) == (frames.GOAWAY, told)
    assert payload[8:].decode() == fault.text


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
