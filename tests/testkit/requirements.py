# SPDX-License-Identifier: Apache-2.0
"""Frames that a server has to know what to do with, written down from the RFC, and what it makes of them."""

from dataclasses import dataclass, field

from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.frames import END_HEADERS, END_STREAM, frame
from grpc_h2.http2.wire.header_blocks import Fields, write_fields

from testkit.raw_http2 import RawCaller

# The stream of a call that shows whether the connection is still good.
PROBE_ID = 999
METHOD, SCHEME = (b":method", b"POST"), (b":scheme", b"http")
AUTHORITY, CONTENT_TYPE = (b":authority", b"localhost"), (b"content-type", b"application/grpc")
TE = (b"te", b"trailers")
MESSAGE = b"\0\0\0\0\5hello"


def path(name: str) -> tuple[bytes, bytes]:
    return b":path", b"/test/" + name.encode()


ECHO: Fields = (METHOD, SCHEME, path("Echo"), AUTHORITY, CONTENT_TYPE, TE)
# Answers when its caller gives up, which is never.
HOLD: Fields = (METHOD, SCHEME, path("Hold"), AUTHORITY, CONTENT_TYPE, TE)
# Is answered at once, whatever its body is.
NOBODYS: Fields = (METHOD, SCHEME, path("Nobodys"), AUTHORITY, CONTENT_TYPE, TE)


def without(name: bytes, fields: Fields = ECHO) -> Fields:
    return tuple(pair for pair in fields if pair[0] != name)


def replaced(name: bytes, value: bytes, fields: Fields = ECHO) -> Fields:
    return tuple((key, value if key == name else old) for key, old in fields)


def headers(stream_id: int, fields: Fields, *, ends: bool = False) -> bytes:
    return block(stream_id, write_fields(fields), ends=ends)


def block(stream_id: int, encoded: bytes, *, ends: bool = False) -> bytes:
    return frame(frames.HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream_id, encoded)


def data(stream_id: int, body: bytes = MESSAGE, *, ends: bool = True) -> bytes:
    return frame(frames.DATA, END_STREAM if ends else 0, stream_id, body)


def reset(stream_id: int, code: int = frames.CANCEL) -> bytes:
    return frames.rst_stream(stream_id, code)


def call(stream_id: int, fields: Fields = ECHO) -> bytes:
    return headers(stream_id, fields) + data(stream_id)


@dataclass
class Seen:
    """What a server sent: resets and statuses (gRPC's, or else HTTP's) by stream, GOAWAY's code, and other frames."""

    resets: dict[int, int] = field(default_factory=dict)
    statuses: dict[int, bytes] = field(default_factory=dict)
    goaway: int | None = None
    kinds: list[tuple[int, int, bytes]] = field(default_factory=list)


async def seen_of(caller: RawCaller, *, until: int = PROBE_ID) -> Seen:
    """Read until that stream has ended, or the connection has."""
    seen = Seen()
    while seen.goaway is None and until not in seen.statuses and until not in seen.resets:
        kind, flags, stream_id, payload = await caller.frame()
        if kind == frames.HEADERS:
            fields = dict(caller.decode(payload))
            if flags & END_STREAM:
                seen.statuses[stream_id] = fields.get(b"grpc-status") or fields[b":status"]
        elif kind == frames.RST_STREAM:
            seen.resets[stream_id] = int.from_bytes(payload, "big")
        elif kind == frames.GOAWAY:
            seen.goaway = int.from_bytes(payload[4:8], "big")
        else:
            seen.kinds.append((kind, flags, payload))
    return seen
