# SPDX-License-Identifier: Apache-2.0
"""The little of protobuf's wire format that tensors need, so that pixels never pass through message objects.

Reading accepts only what every usual writer produces and declines the rest (`UnusualMessageError`):
the caller then asks protobuf itself, so an answer never differs from protobuf's own.
Source: "Encoding", protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
# Protobuf itself refuses messages of 2 GiB and more.
MAX_MESSAGE_BYTES = 2**31 - 1
_MAX_VARINT_BYTES = 10


class UnusualMessageError(Exception):
    """The bytes are damaged, or valid in a way that only protobuf should judge."""


def varint(value: int) -> bytes:
    """Encode an integer of 0 to 2**64 - 1."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append((value & 0x7F) | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def signed_varint(value: int) -> bytes:
    """Encode an int64 (two's complement, as protobuf's int64 does)."""
    return varint(value & 0xFFFFFFFFFFFFFFFF)


def head(field: int, length: int) -> bytes:
    """Encode the tag and length that precede a length-delimited field of `length` bytes."""
    return varint(field << 3 | LENGTH_DELIMITED) + varint(length)


def delimited(field: int, payload: bytes) -> bytes:
    """Encode a length-delimited field whole."""
    return head(field, len(payload)) + payload


def text(field: int, value: str) -> bytes:
    """Encode a string field; nothing where it is empty, as proto3 does."""
    return delimited(field, value.encode()) if value else b""


def packed(field: int, values: tuple[int, ...]) -> bytes:
    """Encode a packed repeated int64 field; nothing where it is empty."""
    return delimited(field, b"".join(map(signed_varint, values))) if values else b""


def read_varint(data: memoryview, position: int, end: int) -> tuple[int, int]:
    """Return the integer at `position` (at most 64 bits) and where it ends."""
    value = shift = 0
    limit = min(end, position + _MAX_VARINT_BYTES)
    while position < limit:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
        shift += 7
    raise UnusualMessageError


def to_int64(value: int) -> int:
    """Return what an int64 field means by the 64 bits read."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: memoryview, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field, wire type, start, stop) of each field in order; a varint's start is its value."""
    while position < end:
        tag, position = read_varint(data, position, end)
        field, wire_type = tag >> 3, tag & 7
        if wire_type == LENGTH_DELIMITED:
            length, position = read_varint(data, position, end)
            start, position = position, position + length
        elif wire_type == VARINT:
            start, position = read_varint(data, position, end)
        elif wire_type == FIXED64:
            start, position = position, position + 8
        else:
            raise UnusualMessageError
        if position > end or not 0 < field < 1 << 29:
            raise UnusualMessageError
        yield field, wire_type, start, position


def read_text(data: memoryview, start: int, stop: int) -> str:
    """Return a string field's value; not UTF-8 is unusual."""
    try:
        return str(data[start:stop], "utf-8")
    except UnicodeDecodeError as exc:
        raise UnusualMessageError from exc


def read_packed_int64(data: memoryview, start: int, stop: int) -> tuple[int, ...]:
    """Return the values of a packed repeated int64 field."""
    values: list[int] = []
    while start < stop:
        value, start = read_varint(data, start, stop)
        values.append(to_int64(value))
    return tuple(values)
