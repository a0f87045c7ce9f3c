# SPDX-License-Identifier: Apache-2.0
"""The little of protobuf's wire format that keeps pixels out of message objects.

A message is cut apart: its contents, as views, and everything else, which protobuf parses.
So there is no second reader of names, shapes and parameters that could disagree with protobuf.
What cannot be followed is declined (None). Source: "Encoding", protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from open_inference.tensors import Buffer

VARINT, FIXED64, LENGTH_DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
# Protobuf itself refuses tags of more than 32 bits and lengths of 2 GiB and more.
MAX_TAG_BYTES = 5
MAX_TAG = 2**32 - 1
MAX_VARINT_BYTES = 10
MAX_LENGTH = 2**31 - 1
# What is followed of a message takes some hundredths of a second at the most.
_MAX_FIELDS = 1 << 16


class Inner(NamedTuple):
    """A field that is in messages which are in the message: those of number `message`, and in them `field`."""

    message: int
    field: int


class CutMessage(NamedTuple):
    """A message without its contents, and the contents in their order, as views of it.

    `inner` are those of messages in it, each with the number of the message, from 0.
    """

    rest: bytes
    contents: tuple[memoryview, ...]
    inner: tuple[tuple[int, memoryview], ...]


class MalformedMessageError(ValueError):
    """The bytes are no protobuf message of the kind that they should be, or one of more fields than are followed."""


def cut(message: Buffer, field: int, inner: Inner | None = None) -> CutMessage | None:
    """Take the length-delimited fields of number `field`, and those that are `inner`, out of a message, or decline."""
    try:
        return _cut(memoryview(message), field, inner)
    except MalformedMessageError:
        return None


def _cut(data: memoryview, field: int, inner: Inner | None) -> CutMessage:
    wanted = field << 3 | LENGTH_DELIMITED
    holder = inner.message << 3 | LENGTH_DELIMITED if inner is not None else 0
    rest: list[Buffer] = []
    contents: list[memoryview] = []
    inners: list[tuple[int, memoryview]] = []
    holder_count = before = 0  # of the holders so far; where what is not cut out begins
    field_start = depth = 0
    for tag, start, end in fields(data):
        depth += (tag & 7 == START_GROUP) - (tag & 7 == END_GROUP)
        if depth:  # what is in a group is the group's
            pass
        elif tag == wanted:
            rest.append(data[before:field_start])
            contents.append(data[start:end])
            before = end
        elif tag == holder and inner is not None:
            held = _cut(data[start:end], inner.field, None)
            if held.contents:
                rest += data[before:field_start], head(inner.message, len(held.rest)), held.rest
                inners += [(holder_count, content) for content in held.contents]
                before = end
            holder_count += 1
        field_start = end
    rest.append(data[before:])
    return CutMessage(b"".join(rest), tuple(contents), tuple(inners))


def fields(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Return the tag of each field of a message, and where its value starts and ends.

    Where a group starts and ends are fields of their own, without a value.

    Raises:
        MalformedMessageError: Here it is none, or has too many.
    """
    position, end, left = 0, len(data), _MAX_FIELDS
    while position < end:
        left -= 1
        tag, position = read_varint(data, position, end, MAX_TAG_BYTES)
        wire_type = tag & 7
        start, length = position, 0
        if wire_type == LENGTH_DELIMITED:
            length, start = read_varint(data, position, end, MAX_VARINT_BYTES)
            position = start + length
        elif wire_type == VARINT:
            position = read_varint(data, position, end, MAX_VARINT_BYTES)[1]
        elif wire_type in FIXED_BYTES:
            position += FIXED_BYTES[wire_type]
        elif wire_type not in (START_GROUP, END_GROUP):
            raise MalformedMessageError("a kind of field that there is not")
        if left < 0 or not 8 <= tag <= MAX_TAG or length > MAX_LENGTH or position > end:
            raise MalformedMessageError("a field that is none, ends after the message, or is one too many")
        yield tag, start, position


def read_varint(data: Buffer, at: int, end: int, max_bytes: int) -> tuple[int, int]:
    """Return the integer at `at` and where it ends.

    Raises:
        MalformedMessageError: It ends nowhere, or has more bytes than it may.
    """
    value, shift, most = 0, 0, 7 * max_bytes
    while at < end and shift < most:
        byte = data[at]
        at += 1
        if byte < 0x80:
            return value | byte << shift, at
        value |= (byte & 0x7F) << shift
        shift += 7
    raise MalformedMessageError("a number without an end")


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
        pieces += in_field(field, content)
    return pieces


def in_field(field: int, content: Sequence[Buffer]) -> list[Buffer]:
    """Return the pieces of a length-delimited field, those of its content as they were given."""
    return [head(field, sum(map(len, content))), *content]


def head(field: int, length: int) -> bytes:
    """Return the tag and length before a length-delimited field."""
    return varint(field << 3 | LENGTH_DELIMITED) + varint(length)
