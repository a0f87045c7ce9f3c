# SPDX-License-Identifier: Apache-2.0
"""Frames as bytes (RFC 9113, 4 and 6)."""

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
NUMBER_BYTES: Final = 4
MAX_WINDOW_BYTES: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1
DEFAULT_WINDOW_BYTES: Final = 65_535
DEFAULT_FRAME_BYTES: Final = 16_384
DEFAULT_TABLE_BYTES: Final = 4_096
LARGEST_FRAME_BYTES: Final = 2**24 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 9, 11, 12

_HEADER = struct.Struct(">HBBBI")
_PAIR = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_STREAM_BITS = 0x7FFFFFFF


def read_header(data: bytes | memoryview, at: int) -> tuple[int, int, int, int]:
    """Return payload length in bytes, kind, flags and stream of the frame whose nine bytes begin at `at`."""
    high, low, kind, flags, stream_id = _HEADER.unpack_from(data, at)
    return high << 8 | low, kind, flags, stream_id & _STREAM_BITS


def head(kind: int, flags: int, stream_id: int, length_bytes: int) -> bytes:
    """Return the nine bytes before a payload."""
    return _HEADER.pack(length_bytes >> 8, length_bytes & 0xFF, kind, flags, stream_id)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a whole frame."""
    length_bytes = len(payload)
    return _HEADER.pack(length_bytes >> 8, length_bytes & 0xFF, kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame (6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(_PAIR.pack(name, value) for name, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return names and values; the length must be a multiple of six."""
    return list(_PAIR.iter_unpack(payload))


def window_update(stream_id: int, byte_count: int) -> bytes:
    """Return a WINDOW_UPDATE frame (6.9); stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _NUMBER.pack(byte_count))


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM frame (6.4)."""
    return frame(RST_STREAM, 0, stream_id, _NUMBER.pack(code))


def goaway(last_stream_id: int, code: int, text: str = "") -> bytes:
    """Return a GOAWAY frame (6.8)."""
    return frame(GOAWAY, 0, 0, _NUMBER.pack(last_stream_id) + _NUMBER.pack(code) + text.encode())


def read_number(data: bytes | memoryview, at: int = 0) -> int:
    """Return the number of the four bytes at `at`, without its reserved bit."""
    value: int = _NUMBER.unpack_from(data, at)[0]
    return value & _STREAM_BITS
