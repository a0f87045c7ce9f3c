# SPDX-License-Identifier: Apache-2.0
"""The little of protobuf's wire format that keeps pixels out of message objects.

A message is cut in two: its raw contents, as views, and everything else, which protobuf parses.
So there is no second reader of names, shapes and parameters that could disagree with protobuf.
What is cut apart here is only what every writer produces; the rest is declined (None) and
protobuf gets the message whole. Source: "Encoding", protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Sequence
from typing import NamedTuple

from matting_gateway.domain import Buffer

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
# Protobuf itself refuses tags of more than 32 bits and lengths of 2 GiB and more.
_MAX_TAG_BYTES = 5
_MAX_LENGTH_BYTES = 5
_MAX_TAG = 2**32 - 1
_MAX_VARINT_BYTES = 10
_MAX_LENGTH = 2**31 - 1


class CutMessage(NamedTuple):
    """A message without its raw contents, and the raw contents in their order, as views of it."""

    rest: bytes
    contents: tuple[memoryview, ...]


def cut(message: Buffer, field: int) -> CutMessage | None:
    """Take the length-delimited fields of number `field` out of a message, or decline."""
    data = memoryview(message)
    wanted = field << 3 | _LENGTH_DELIMITED
    rest: list[Buffer] = []
    contents: list[memoryview] = []
    position = run_start = 0
    end = len(message)
    while position < end:
        field_start = position
        tag, position = _read_varint(message, position, _MAX_TAG_BYTES)
        wire_type = tag & 7
        if not 8 <= tag <= _MAX_TAG:
            return None
        if wire_type == _LENGTH_DELIMITED:
            length, start = _read_varint(message, position, _MAX_LENGTH_BYTES)
            position = start + length
            if not 0 <= length <= _MAX_LENGTH or position > end:
                return None
            if tag == wanted:
                rest.append(data[run_start:field_start])
                contents.append(data[start:position])
                run_start = position
        elif wire_type == _VARINT:
            value, position = _read_varint(message, position, _MAX_VARINT_BYTES)
            if value < 0:
                return None
        elif wire_type in _FIXED_BYTES:
            position += _FIXED_BYTES[wire_type]
        else:
            return None
    if position != end:
        return None
    rest.append(data[run_start:end])
    return CutMessage(b"".join(rest), tuple(contents))


def _read_varint(data: Buffer, position: int, max_bytes: int) -> tuple[int, int]:
    """Return the integer at `position` and where it ends; -1 where it is damaged or too long."""
    value = shift = 0
    for byte in data[position : position + max_bytes]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return -1, position


def varint(value: int) -> bytes:
    """Encode an integer of 0 to 2**64 - 1."""
    if value < 0x80:
        return value.to_bytes(1, "big")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append((value & 0x7F) | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def with_contents(rest: bytes, field: int, contents: Sequence[Sequence[Buffer]]) -> list[Buffer]:
    """Return the pieces of a message of `rest` and one length-delimited `field` for each of `contents`.

    The pixels among them are those that were given.
    """
    pieces: list[Buffer] = [rest]
    for content in contents:
        pieces.append(head(field, sum(map(len, content))))
        pieces.extend(content)
    return pieces


def head(field: int, length: int) -> bytes:
    """Return the tag and length before a length-delimited field."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(length)
