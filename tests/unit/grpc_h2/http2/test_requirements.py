# SPDX-License-Identifier: Apache-2.0
"""What RFC 9113 and RFC 7541 require of a server, by raw frames on a socket: rows of the table in http2/README.md."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.frames import ACK, END_HEADERS, END_STREAM, HAS_PRIORITY, PADDED, frame
from grpc_h2.http2.wire.header_blocks import write_fields
from testkit.grpc_loopback import Context, Loopback, loopback
from testkit.raw_http2 import RawCaller
from testkit.requirements import (
    AUTHORITY,
    CONTENT_TYPE,
    ECHO,
    HOLD,
    MESSAGE,
    METHOD,
    NOBODYS,
    PROBE_ID,
    SCHEME,
    TE,
    block,
    call,
    data,
    headers,
    path,
    replaced,
    reset,
    seen_of,
    without,
)

PROTOCOL, SIZE, FLOW = frames.PROTOCOL_ERROR, frames.FRAME_SIZE_ERROR, frames.FLOW_CONTROL_ERROR
CLOSED, COMPRESSION, REFUSED = frames.STREAM_CLOSED, frames.COMPRESSION_ERROR, frames.REFUSED_STREAM
ECHO_BLOCK = write_fields(ECHO)
LARGEST_FRAME_BYTES = 4 << 20
PING = frame(frames.PING, 0, 0, b"12345678")
ITSELF = b"\0\0\0\1\x10"
# ":path: /test/Echo" as Huffman's code, whole and damaged in the ways of RFC 7541, 5.2.
PATH = b"\x04"


async def echo(request: bytes, _context: Context) -> bytes:
    return bytes(request)


async def hold(_requests: Any, _context: Context) -> bytes:
    await asyncio.Event().wait()
    return b""


METHODS: dict[str, tuple[str, Any]] = {"Echo": ("unary_unary", echo), "Hold": ("stream_unary", hold)}

# Every frame of a row on a new connection ends it with the error.
CONNECTION_ERRORS: dict[str, tuple[bytes, int]] = {
    # 4.2
    "DATA larger than MAX_FRAME_SIZE": (
        headers(1, ECHO) + frames.head(frames.DATA, 0, 1, LARGEST_FRAME_BYTES + 1),
        SIZE,
    ),
    "HEADERS larger than MAX_FRAME_SIZE": (frames.head(frames.HEADERS, 4, 1, LARGEST_FRAME_BYTES + 1), SIZE),
    "SETTINGS larger than MAX_FRAME_SIZE": (frames.head(frames.SETTINGS, 0, 0, LARGEST_FRAME_BYTES + 2), SIZE),
    # 4.3 and RFC 7541
    "a field block that cannot be decoded": (block(1, b"\xff" * 9), COMPRESSION),
    "an index of 0": (block(1, b"\x80"), COMPRESSION),
    "an index beyond both tables": (block(1, b"\xfe"), COMPRESSION),
    "a name's index beyond both tables": (block(1, b"\x7f\x40\x01a"), COMPRESSION),
    "a literal that is cut off": (block(1, b"\0\x05ab"), COMPRESSION),
    "an integer that does not end": (block(1, b"\xff" + b"\xff" * 20), COMPRESSION),
    "a table size beyond SETTINGS_HEADER_TABLE_SIZE": (block(1, b"\x3f\xe2\x1f" + ECHO_BLOCK), COMPRESSION),
    "a table size after the first field": (block(1, ECHO_BLOCK + b"\x20"), COMPRESSION),
    "Huffman padding of more than seven bits": (block(1, PATH + b"\x82\x63\xff"), COMPRESSION),
    "Huffman padding that is not of ones": (block(1, PATH + b"\x81\x60"), COMPRESSION),
    "Huffman's end of string in a string": (block(1, PATH + b"\x84\xff\xff\xff\xff"), COMPRESSION),
    "a field block interrupted by PRIORITY": (
        frame(frames.HEADERS, 0, 1, ECHO_BLOCK) + frame(frames.PRIORITY, 0, 1, bytes(5)),
        PROTOCOL,
    ),
    "a field block interrupted by DATA": (frame(frames.HEADERS, 0, 1, ECHO_BLOCK) + data(1), PROTOCOL),
    "a field block interrupted by HEADERS of another stream": (
        frame(frames.HEADERS, 0, 1, ECHO_BLOCK) + headers(3, ECHO),
        PROTOCOL,
    ),
    "a field block interrupted by an unknown frame": (
        frame(frames.HEADERS, 0, 1, ECHO_BLOCK) + frame(0xFA, 0, 1),
        PROTOCOL,
    ),
    # 5.1, idle
    "DATA on an idle stream": (data(1), PROTOCOL),
    "RST_STREAM on an idle stream": (reset(1), PROTOCOL),
    "WINDOW_UPDATE on an idle stream": (frames.window_update(1, 1), PROTOCOL),
    "CONTINUATION on an idle stream": (frame(frames.CONTINUATION, END_HEADERS, 1, ECHO_BLOCK), PROTOCOL),
    # 5.1, half-closed (remote) and closed
    "CONTINUATION after END_STREAM": (
        headers(1, HOLD, ends=True) + frame(frames.CONTINUATION, END_HEADERS, 1, ECHO_BLOCK),
        PROTOCOL,
    ),
    "HEADERS after RST_STREAM": (headers(1, HOLD) + reset(1) + headers(1, HOLD, ends=True), CLOSED),
    "CONTINUATION after RST_STREAM": (
        headers(1, HOLD) + reset(1) + frame(frames.CONTINUATION, END_HEADERS, 1, ECHO_BLOCK),
        PROTOCOL,
    ),
    # 5.1.1
    "HEADERS on an even stream": (headers(2, ECHO), PROTOCOL),
    "HEADERS on a lower stream that was left out": (headers(5, HOLD) + headers(3, ECHO), PROTOCOL),
    # 5.2.1 and 6.9.1
    "DATA beyond a stream's window": (headers(1, HOLD) + data(1, bytes(65_536), ends=False), FLOW),
    # 6.1 to 6.3
    "DATA on stream 0": (data(0), PROTOCOL),
    "DATA with padding as long as its payload": (
        headers(1, ECHO) + frame(frames.DATA, PADDED, 1, b"\x05" + bytes(4)),
        PROTOCOL,
    ),
    "DATA with PADDED and no pad length": (headers(1, ECHO) + frame(frames.DATA, PADDED, 1) + b"\0", PROTOCOL),
    "HEADERS on stream 0": (headers(0, ECHO), PROTOCOL),
    "HEADERS with padding beyond its payload": (frame(frames.HEADERS, END_HEADERS | PADDED, 1, b"\x09abc"), PROTOCOL),
    "PRIORITY on stream 0": (frame(frames.PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "PRIORITY of a wrong length": (headers(1, HOLD) + frame(frames.PRIORITY, 0, 1, bytes(4)), SIZE),
    "PRIORITY of an idle stream on itself": (frame(frames.PRIORITY, 0, 1, ITSELF), PROTOCOL),
    # 6.4
    "RST_STREAM on stream 0": (reset(0), PROTOCOL),
    "RST_STREAM of a wrong length": (headers(1, HOLD) + frame(frames.RST_STREAM, 0, 1, bytes(3)), SIZE),
    # 6.5
    "SETTINGS on a stream": (frame(frames.SETTINGS, 0, 1), PROTOCOL),
    "SETTINGS of a wrong length": (frame(frames.SETTINGS, 0, 0, bytes(5)), SIZE),
    "SETTINGS with ACK and a payload": (frame(frames.SETTINGS, ACK, 0, bytes(6)), SIZE),
    "ENABLE_PUSH of 2": (frames.settings({frames.ENABLE_PUSH: 2}), PROTOCOL),
    "INITIAL_WINDOW_SIZE over 2^31-1": (frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), FLOW),
    "MAX_FRAME_SIZE under 16,384": (frames.settings({frames.MAX_FRAME_SIZE: 16_383}), PROTOCOL),
    "MAX_FRAME_SIZE over 2^24-1": (frames.settings({frames.MAX_FRAME_SIZE: 1 << 24}), PROTOCOL),
    # 6.6 to 6.8
    "PUSH_PROMISE of a client": (headers(1, HOLD) + frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL),
    "PING on a stream": (frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
    "PING of a wrong length": (frame(frames.PING, 0, 0, bytes(7)), SIZE),
    "GOAWAY on a stream": (frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "GOAWAY of a wrong length": (frame(frames.GOAWAY, 0, 0, bytes(7)), SIZE),
    # 6.9
    "WINDOW_UPDATE of 0 on the connection": (frames.window_update(0, 0), PROTOCOL),
    "WINDOW_UPDATE of a wrong length": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "a connection's window over 2^31-1": (frames.window_update(0, 2**31 - 1), FLOW),
    "windows over 2^31-1 by INITIAL_WINDOW_SIZE": (
        headers(1, HOLD)
        + frames.window_update(1, 2**31 - 70_000)
        + frames.settings({frames.INITIAL_WINDOW_SIZE: 100_000}),
        FLOW,
    ),
    # 6.10
    "CONTINUATION on stream 0": (
        frame(frames.HEADERS, 0, 1, ECHO_BLOCK) + frame(frames.CONTINUATION, 4, 0, b""),
        PROTOCOL,
    ),
    "CONTINUATION after END_HEADERS": (headers(1, HOLD) + frame(frames.CONTINUATION, 4, 1, b""), PROTOCOL),
    "CONTINUATION after CONTINUATION with END_HEADERS": (
        frame(frames.HEADERS, 0, 1, ECHO_BLOCK) + frame(frames.CONTINUATION, 4, 1) * 2,
        PROTOCOL,
    ),
    "CONTINUATION after DATA": (
        headers(1, HOLD) + data(1, ends=False) + frame(frames.CONTINUATION, 4, 1, ECHO_BLOCK),
        PROTOCOL,
    ),
}


def open_and(extra: bytes) -> bytes:
    """Return a call that is not answered yet, and what is wrong on its stream."""
    return headers(1, HOLD) + extra


def malformed(*more: tuple[bytes, bytes]) -> tuple[bytes, int]:
    return headers(1, (*ECHO, *more)) + data(1), PROTOCOL


def asked(fields: Any) -> tuple[bytes, int]:
    return headers(1, fields) + data(1), PROTOCOL


# Stream 1 is reset with the error, and the connection goes on.
STREAM_ERRORS: dict[str, tuple[bytes, int]] = {
    # 5.1, 6.1
    "DATA after END_STREAM": (headers(1, HOLD, ends=True) + data(1), CLOSED),
    "HEADERS after END_STREAM": (headers(1, HOLD, ends=True) + headers(1, HOLD, ends=True), CLOSED),
    "DATA after RST_STREAM": (open_and(reset(1) + data(1)), CLOSED),
    # 5.3.1 of RFC 7540
    "HEADERS that depend on themselves": (
        frame(frames.HEADERS, END_HEADERS | HAS_PRIORITY, 1, ITSELF + ECHO_BLOCK) + data(1),
        PROTOCOL,
    ),
    "PRIORITY of a stream on itself": (open_and(frame(frames.PRIORITY, 0, 1, ITSELF)), PROTOCOL),
    # 6.9
    "WINDOW_UPDATE of 0 on a stream": (open_and(frames.window_update(1, 0)), PROTOCOL),
    "a stream's window over 2^31-1": (open_and(frames.window_update(1, 2**31 - 1)), FLOW),
    # 8.1
    "HEADERS without END_STREAM in a request": (open_and(headers(1, ((b"x-a", b"1"),))), PROTOCOL),
    # 8.1.1
    "a body longer than content-length": malformed((b"content-length", b"9")),
    "a body shorter than content-length": malformed((b"content-length", b"11")),
    "a body of several frames longer than content-length": (
        headers(1, (*HOLD, (b"content-length", b"9"))) + data(1, MESSAGE[:5], ends=False) + data(1, MESSAGE[5:]),
        PROTOCOL,
    ),
    "no body but a content-length": (headers(1, (*ECHO, (b"content-length", b"1")), ends=True), PROTOCOL),
    "trailers before the end of content-length": (
        headers(1, (*HOLD, (b"content-length", b"11")))
        + data(1, ends=False)
        + headers(1, ((b"x-a", b"1"),), ends=True),
        PROTOCOL,
    ),
    "content-length twice": malformed((b"content-length", b"10"), (b"content-length", b"10")),
    "content-length that is no number": malformed((b"content-length", b"ten")),
    # 8.2 and 8.2.1
    "an upper-case name": malformed((b"X-Name", b"v")),
    "a name with a space": malformed((b"x name", b"v")),
    "a name with a control character": malformed((b"x\x01name", b"v")),
    "a name with DEL": malformed((b"x\x7fname", b"v")),
    "a name beyond ASCII": malformed((b"x-\xc3\xa4", b"v")),
    "a name with a colon": malformed((b"x:name", b"v")),
    "an empty name": malformed((b"", b"v")),
    "a value with NUL": malformed((b"x-a", b"a\0b")),
    "a value with LF": malformed((b"x-a", b"a\nb")),
    "a value with CR": malformed((b"x-a", b"a\rb")),
    "a value that begins with a space": malformed((b"x-a", b" v")),
    "a value that ends with a tab": malformed((b"x-a", b"v\t")),
    # 8.2.2
    "connection": malformed((b"connection", b"close")),
    "proxy-connection": malformed((b"proxy-connection", b"keep-alive")),
    "keep-alive": malformed((b"keep-alive", b"timeout=5")),
    "transfer-encoding": malformed((b"transfer-encoding", b"chunked")),
    "upgrade": malformed((b"upgrade", b"h2c")),
    "te other than trailers": asked((*without(b"te"), (b"te", b"trailers, deflate"))),
    # 8.3
    "an unknown pseudo-header": asked((METHOD, (b":test", b"1"), *without(b":method"))),
    ":status in a request": asked((METHOD, (b":status", b"200"), *without(b":method"))),
    ":protocol without leave for it": asked((METHOD, (b":protocol", b"websocket"), *without(b":method"))),
    "a pseudo-header after other fields": asked((*without(b":authority"), AUTHORITY)),
    ":method twice": asked((METHOD, *ECHO)),
    ":scheme twice": asked((SCHEME, *ECHO)),
    ":path twice": asked((path("Echo"), *ECHO)),
    ":authority twice": asked((AUTHORITY, *ECHO)),
    "a pseudo-header in trailers": (
        open_and(data(1, ends=False) + headers(1, (METHOD,), ends=True)),
        PROTOCOL,
    ),
    "an upper-case name in trailers": (
        open_and(data(1, ends=False) + headers(1, ((b"X-A", b"1"),), ends=True)),
        PROTOCOL,
    ),
    # 8.3.1
    "no :method": asked(without(b":method")),
    "no :scheme": asked(without(b":scheme")),
    "no :path": asked(without(b":path")),
    "an empty :path": asked(replaced(b":path", b"")),
    "a :path without a slash": asked(replaced(b":path", b"test/Echo")),
    "a :path of * that is no OPTIONS": asked(replaced(b":path", b"*")),
    "an empty :method": asked(replaced(b":method", b"")),
    "an :authority with a user": asked(replaced(b":authority", b"me@localhost")),
    "a host that differs from :authority": malformed((b"host", b"elsewhere")),
    # 8.5
    "CONNECT with a :path": asked(replaced(b":method", b"CONNECT")),
    "CONNECT without an :authority": asked(((b":method", b"CONNECT"), CONTENT_TYPE)),
}

# What is answered as a call like any other: stream 1 ends with OK.
SERVED: dict[str, bytes] = {
    # 4.1, 5.5
    "an unknown kind of frame": frame(0xFA, 0xFF, 1, b"?") + call(1),
    "flags that are not defined": frame(frames.PING, 0x16, 0, bytes(8)) + headers(1, ECHO) + frame(0, 0x91, 1, MESSAGE),
    "the reserved bit of a stream's number": frame(frames.PING, 0, 1 << 31, bytes(8)) + call(1),
    # 4.2
    "DATA of 16,384 bytes": headers(1, ECHO) + data(1, b"\0" + (16_379).to_bytes(4, "big") + bytes(16_379)),
    # 4.3, RFC 7541
    "a field block in several CONTINUATIONs": frame(frames.HEADERS, 0, 1, ECHO_BLOCK[:20])
    + frame(frames.CONTINUATION, 0, 1, ECHO_BLOCK[20:30])
    + frame(frames.CONTINUATION, END_HEADERS, 1, ECHO_BLOCK[30:])
    + data(1),
    "indexed fields of the static table": block(
        1, b"\x83\x86" + write_fields((path("Echo"), AUTHORITY, CONTENT_TYPE, TE))
    )
    + data(1),
    "literals with indexing, and indices of them": block(1, b"\x83\x86\x44\x0a/test/Echo\x5f\x10application/grpc")
    + data(1)
    + block(3, b"\x83\x86\xbf\xbe")
    + data(3),
    "literals that are never indexed": block(1, b"\x83\x86\x14\x0a/test/Echo" + write_fields((CONTENT_TYPE,)))
    + data(1),
    "a table size at the beginning": block(1, b"\x20\x3f\xe1\x1f" + ECHO_BLOCK) + data(1),
    # 5.1
    "PRIORITY on an idle stream": frame(frames.PRIORITY, 0, 7, bytes(5)) + call(1),
    "HEADERS below a stream with PRIORITY": frame(frames.PRIORITY, 0, 9, bytes(5)) + call(1),
    "WINDOW_UPDATE after END_STREAM": call(1) + frames.window_update(1, 5),
    "PRIORITY after END_STREAM": call(1) + frame(frames.PRIORITY, 0, 1, bytes(5)),
    "WINDOW_UPDATE after RST_STREAM": headers(3, HOLD) + reset(3) + frames.window_update(3, 5) + call(5),
    "RST_STREAM after RST_STREAM": headers(3, HOLD) + reset(3) * 2 + call(5),
    # 6.1, 6.2
    "DATA with padding": headers(1, ECHO) + frame(frames.DATA, PADDED | END_STREAM, 1, b"\3" + MESSAGE + bytes(3)),
    "DATA in several frames": headers(1, ECHO) + data(1, MESSAGE[:3], ends=False) + data(1, MESSAGE[3:]),
    "DATA whose last frame is empty": headers(1, ECHO) + data(1, ends=False) + data(1, b""),
    "HEADERS with padding and priority": frame(
        frames.HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, b"\3" + b"\x80\0\0\0\xff" + ECHO_BLOCK + bytes(3)
    )
    + data(1),
    "PRIORITY on a stream that is not there": frame(frames.PRIORITY, 0, 1, b"\x80\0\0\7\xff") + call(1),
    # 6.5
    "an unknown setting": frames.settings({0x99: 1}) + call(1),
    "no push": frames.settings({frames.ENABLE_PUSH: 0}) + call(1),
    "settings at their limits": frames.settings(
        {frames.INITIAL_WINDOW_SIZE: 2**31 - 1, frames.MAX_FRAME_SIZE: (1 << 24) - 1}
    )
    + call(1),
    # 6.8, 7
    "GOAWAY, and calls before it": headers(1, ECHO) + frames.goaway(0, frames.NO_ERROR) + data(1),
    "an unknown code in GOAWAY": frames.goaway(0, 0xFF) + call(1),
    "an unknown code in RST_STREAM": headers(3, HOLD) + reset(3, 0xFF) + call(5),
    # 8.1
    "trailers": headers(1, ECHO) + data(1, ends=False) + headers(1, ((b"x-a", b"1"),), ends=True),
    # 8.1.1
    "a body as long as content-length": headers(1, (*ECHO, (b"content-length", b"10"))) + data(1),
    "a padded body as long as content-length": headers(1, (*ECHO, (b"content-length", b"10")))
    + frame(frames.DATA, PADDED | END_STREAM, 1, b"\3" + MESSAGE + bytes(3)),
    # 8.2
    "an empty value": headers(1, (*ECHO, (b"x-a", b""))) + data(1),
    "a value with spaces within": headers(1, (*ECHO, (b"x-a", b"a b"))) + data(1),
    "credentials that end with a space": headers(1, (*ECHO, (b"authorization", b"Bearer "))) + data(1),
    "cookies in several fields": headers(1, (*ECHO, (b"cookie", b"a=1"), (b"cookie", b"b=2"))) + data(1),
    "te: trailers": call(1),
    # 8.3.1
    "no :authority": headers(1, without(b":authority")) + data(1),
    "a host that is the :authority": headers(1, (*ECHO, (b"host", b"LOCALHOST:80"))) + data(1),
}

# What is left alone though its stream is over: it was on its way when the answer left.
LATE: dict[str, bytes] = {
    "DATA after an answer that came early": data(1, bytes(1000), ends=False) * 5,
    "trailers after an answer that came early": headers(1, ((b"x-a", b"1"),), ends=True),
    "WINDOW_UPDATE after an answer": frames.window_update(1, 100),
    "RST_STREAM after an answer": reset(1),
}

# What ends in an error on a stream that was answered and is closed on both sides.
AFTER_THE_END: dict[str, tuple[bytes, int]] = {
    "HEADERS on a closed stream": (headers(1, ECHO), CLOSED),
    "CONTINUATION on a closed stream": (frame(frames.CONTINUATION, END_HEADERS, 1, ECHO_BLOCK), PROTOCOL),
}


async def outcome(served: Loopback, sent: bytes, *, until: int = PROBE_ID) -> Any:
    async with RawCaller(served.address) as caller:
        caller.send(sent + call(PROBE_ID))
        seen = await seen_of(caller, until=until)
        if seen.goaway is not None:
            with suppress(ConnectionResetError):  # of what we had sent after the error something was not read
                await caller.closed()
    return seen


@pytest.mark.parametrize(("sent", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS)
async def test_a_connection_error_is_told_by_goaway_and_the_connection_is_closed(sent: bytes, code: int) -> None:
    async with loopback(METHODS) as served:
        seen = await outcome(served, sent)
    assert (seen.goaway, PROBE_ID in seen.statuses) == (code, False)


@pytest.mark.parametrize(("sent", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS)
async def test_a_stream_error_resets_its_stream_and_leaves_the_others_alone(sent: bytes, code: int) -> None:
    async with loopback(METHODS) as served:
        seen = await outcome(served, sent)
    assert (seen.resets, seen.goaway) == ({1: code}, None)
    assert seen.statuses == {PROBE_ID: b"0"}


@pytest.mark.parametrize("sent", SERVED.values(), ids=SERVED)
async def test_what_is_allowed_is_served(sent: bytes) -> None:
    async with loopback(METHODS) as served:
        seen = await outcome(served, sent)
    assert (seen.resets, seen.goaway) == ({}, None)
    assert set(seen.statuses.values()) == {b"0"}
    assert len(seen.statuses) > 1


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
async def test_what_was_on_its_way_when_its_stream_ended_is_left_alone(late: bytes) -> None:
    async with loopback(METHODS) as served, RawCaller(served.address) as caller:
        caller.send(headers(1, NOBODYS))
        assert (await seen_of(caller, until=1)).statuses == {1: b"12"}
        assert (await caller.next_of(frames.RST_STREAM))[2:] == (1, bytes(4))
        caller.send(late + call(PROBE_ID))
        seen = await seen_of(caller)
    assert (seen.resets, seen.goaway, seen.statuses) == ({}, None, {PROBE_ID: b"0"})


async def test_data_beyond_the_window_of_a_stream_that_was_answered_early_ends_the_connection() -> None:
    async with loopback(METHODS) as served, RawCaller(served.address) as caller:
        caller.send(headers(1, NOBODYS))
        await seen_of(caller, until=1)
        caller.send(data(1, bytes(16_384), ends=False) * 9)
        assert (await seen_of(caller)).goaway == FLOW


@pytest.mark.parametrize(("late", "code"), AFTER_THE_END.values(), ids=AFTER_THE_END)
async def test_headers_on_a_stream_that_both_sides_have_ended_end_the_connection(late: bytes, code: int) -> None:
    async with loopback(METHODS) as served, RawCaller(served.address) as caller:
        caller.send(call(1))
        assert (await seen_of(caller, until=1)).statuses == {1: b"0"}
        caller.send(late)
        assert (await seen_of(caller)).goaway == code


async def test_data_on_a_stream_that_both_sides_have_ended_is_a_stream_error() -> None:
    async with loopback(METHODS) as served, RawCaller(served.address) as caller:
        caller.send(call(1))
        await seen_of(caller, until=1)
        caller.send(data(1) + call(PROBE_ID))
        seen = await seen_of(caller)
    assert (seen.resets, seen.statuses) == ({1: CLOSED}, {PROBE_ID: b"0"})


async def test_streams_over_the_limit_are_refused() -> None:
    async with loopback(METHODS) as served, RawCaller(served.address) as caller:
        caller.send(b"".join(headers(i, HOLD) for i in range(1, 203, 2)) + reset(1) + call(PROBE_ID))
        seen = await seen_of(caller)
    assert (seen.resets, seen.statuses) == ({201: REFUSED}, {PROBE_ID: b"0"})


async def test_goaway_of_an_error_names_the_last_stream() -> None:
    async with loopback(METHODS) as served, RawCaller(served.address) as caller:
        caller.send(headers(1, HOLD) + headers(7, HOLD) + frame(frames.PING, 0, 1, bytes(8)))
        _, _, _, payload = await caller.next_of(frames.GOAWAY)
    assert frames.read_number(payload) == 7


async def test_a_ping_is_answered_with_its_own_bytes_and_an_answer_is_not() -> None:
    async with loopback(METHODS) as served:
        seen = await outcome(served, frame(frames.PING, ACK, 0, b"answered") + PING)
    assert [found for found in seen.kinds if found[0] == frames.PING] == [(frames.PING, ACK, b"12345678")]


async def test_settings_are_sent_first_and_the_peers_are_acknowledged() -> None:
    async with loopback(METHODS) as served, RawCaller(served.address) as caller:
        kind, flags, stream_id, _ = await caller.frame()
        assert (kind, flags, stream_id) == (frames.SETTINGS, 0, 0)
        while (found := await caller.next_of(frames.SETTINGS))[1] != ACK:
            pass
        assert found == (frames.SETTINGS, ACK, 0, b"")


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"INVALID CONNECTION PREFACE\r\n\r\n", frames.PREFACE + PING],
    ids=["HTTP/1.1", "no preface", "no SETTINGS first"],
)
async def test_who_does_not_begin_as_http_2_does_is_told_so_and_cut_off(sent: bytes) -> None:
    async with loopback(METHODS) as served:
        host, _, port = served.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
    assert frames.goaway(0, PROTOCOL)[: frames.HEADER_BYTES + 8][3:] in answer


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (replaced(b":method", b"GET"), b"405"),
        (replaced(b":method", b"HEAD"), b"405"),
        (((b":method", b"OPTIONS"), SCHEME, (b":path", b"*"), AUTHORITY), b"405"),
        (((b":method", b"CONNECT"), AUTHORITY), b"405"),
        (without(b"content-type"), b"415"),
    ],
    ids=["GET", "HEAD", "OPTIONS *", "CONNECT", "no content-type"],
)
async def test_requests_of_http_that_are_no_calls_are_answered_once_they_have_ended(fields: Any, status: bytes) -> None:
    async with loopback(METHODS) as served:
        seen = await outcome(served, headers(1, fields) + data(1))
    assert (seen.statuses, seen.resets) == ({1: status, PROBE_ID: b"0"}, {})


@pytest.mark.parametrize("table_bytes", [0, 100])
async def test_a_smaller_table_of_headers_is_acknowledged_in_the_next_block(table_bytes: int) -> None:
    async with (
        loopback(METHODS) as served,
        RawCaller(served.address, {frames.HEADER_TABLE_SIZE: table_bytes}) as caller,
    ):
        caller.send(call(1) + call(3))
        blocks = [(await caller.next_of(frames.HEADERS))[3] for _ in range(4)]
    assert [block_[0] == 0x20 for block_ in blocks] == [True, False, False, False]
    assert (b":status", b"200") in caller.decode(blocks[0])


async def test_a_smaller_table_is_acknowledged_in_the_answer_to_too_large_headers_too() -> None:
    async with loopback(METHODS) as served, RawCaller(served.address, {frames.HEADER_TABLE_SIZE: 0}) as caller:
        caller.send(frame(frames.HEADERS, 0, 1) + frame(frames.CONTINUATION, 0, 1) * 17)
        _, _, _, answer = await caller.next_of(frames.HEADERS)
    assert answer[0] == 0x20
    assert dict(caller.decode(answer))[b"grpc-status"] == b"8"
