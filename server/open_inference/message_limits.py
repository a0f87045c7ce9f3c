# SPDX-License-Identifier: Apache-2.0
"""What a protobuf message may consist of, counted before it becomes objects.

A few bytes of a message can become thousands of objects. So one pass over its tags counts them, skips what
has a length whole, and stops at the first limit exceeded: it costs what the limits allow and not what the
message's length does. What it says of a message within its limits is what protobuf says: both follow
"Encoding", protobuf.dev/programming-guides/encoding, and tests hold them to each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from open_inference.tensors import Buffer
from open_inference.wire import (
    END_GROUP,
    FIXED32,
    FIXED64,
    FIXED_BYTES,
    LENGTH_DELIMITED,
    MAX_LENGTH,
    MAX_TAG,
    MAX_TAG_BYTES,
    MAX_VARINT_BYTES,
    START_GROUP,
    VARINT,
    MalformedMessageError,
    read_varint,
)

_MAX_DEPTH = 100  # as protobuf itself
_CONTINUED = bytes(range(0x80, 0x100))

_WIRE_TYPES = {
    **dict.fromkeys(
        (FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64, FieldDescriptor.TYPE_DOUBLE), FIXED64
    ),
    **dict.fromkeys((FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_SFIXED32, FieldDescriptor.TYPE_FLOAT), FIXED32),
    **dict.fromkeys(
        (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE), LENGTH_DELIMITED
    ),
}


class MessageLimitError(ValueError):
    """A message has more than it may.

    Args:
        path: Of the field, as in `inputs.shape`; empty where it is the message as a whole.
        limit: How many it may have.
        what: Of these.
    """

    def __init__(self, path: str, limit: int, what: str) -> None:
        super().__init__(f"{path or 'the message'} has more than {limit} {what}")
        self.path = path
        self.limit = limit
        self.what = what


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What a message may have.

    Attributes:
        max_fields: Of fields, those of all messages in it together, known or not; each value of an unpacked
            list is one.
        max_entries: Of entries of any one list or map.
        max_text_bytes: Of bytes of strings and of fields that are not known, all together. What fields of the
            type `bytes` hold is limited by the message's size alone, as are packed values of tensors.
    """

    max_fields: int = 2048
    max_entries: int = 256
    max_text_bytes: int = 256 << 10


@dataclass(frozen=True, slots=True, eq=False)
class FieldShape:
    """A field in one of its encodings. Each place in a message has its own, however often it has the same message.

    Attributes:
        path: Where it is, as in `inputs.shape`.
        repeated: Whether it is a list or a map whose entries are counted.
        text: Whether it is a string.
        packed_bytes: The bytes of one value where this is many of them in one field, 1 where that varies; else 0.
        bulk: Whether its values are limited by the message's size alone.
        nested: Of a message, what that has.
    """

    path: str
    repeated: bool
    text: bool
    packed_bytes: int
    bulk: bool
    nested: "MessageShape | None"


# By a field's tag: its number and how it is encoded.
MessageShape: TypeAlias = Mapping[int, FieldShape]


def shape_of(descriptor: Descriptor, *, bulk: frozenset[str] = frozenset(), path: str = "") -> MessageShape:
    """Return what a message may have. Messages that contain themselves are not served.

    Args:
        descriptor: Protobuf's own description.
        bulk: Full names of messages whose lists may be of any length: packed they are limited by the message's
            size alone, and otherwise as all fields together are.
        path: Of the message, within another one.
    """
    shape: dict[int, FieldShape] = {}
    for told in descriptor.fields:
        wire_type = _WIRE_TYPES.get(told.type, VARINT)
        where = path + told.name
        nested = None if told.message_type is None else shape_of(told.message_type, bulk=bulk, path=f"{where}.")
        is_text = told.type == FieldDescriptor.TYPE_STRING
        is_bulk = descriptor.full_name in bulk
        shape[told.number << 3 | wire_type] = FieldShape(
            where, told.is_repeated and not is_bulk, is_text, 0, is_bulk, nested
        )
        if told.is_repeated and wire_type != LENGTH_DELIMITED:
            size = FIXED_BYTES.get(wire_type, 1)
            packed = FieldShape(where, repeated=True, text=False, packed_bytes=size, bulk=is_bulk, nested=None)
            shape[told.number << 3 | LENGTH_DELIMITED] = packed
    return shape


def check(message: Buffer, shape: MessageShape, limits: MessageLimits) -> bool:
    """Return where a message is within its limits, and then whether anything in it is `bulk`.

    Raises:
        MessageLimitError: It is not.
        MalformedMessageError: It is no such message. What is wrong within strings and numbers is left to protobuf.
    """
    once = _Pass(message, limits)
    try:
        once.message(0, len(message), shape, {}, _MAX_DEPTH)
    except IndexError as exc:
        raise MalformedMessageError("a field beyond the message's end") from exc
    return once.has_bulk


class _Pass:
    """One pass over a message. Owns what is left of its limits, and whether anything in it is `bulk`.

    Whatever goes on after the end of where it is, is found there before anything else is made of it.
    """

    __slots__ = ("_data", "_fields_left", "_limits", "_text_left", "has_bulk")

    def __init__(self, message: Buffer, limits: MessageLimits) -> None:
        self._data = message
        self._limits = limits
        self._fields_left = limits.max_fields
        self._text_left = limits.max_text_bytes
        self.has_bulk = False

    def message(  # noqa: C901 - in one piece: a call for each field would cost more than all the rest
        self, at: int, end: int, shape: MessageShape, counts: dict[str, int], depth: int
    ) -> None:
        """Count the fields of a message that is at `at` to `end`; `counts` are those of its lists, by path."""
        data, left = self._data, self._fields_left
        while at < end:
            left -= 1
            if left < 0:
                raise self._too_many_fields()
            tag = data[at]
            at += 1
            if tag >= 0x80:
                tag, at = read_varint(data, at - 1, end, MAX_TAG_BYTES)
            known = shape.get(tag)
            if tag & 7 != LENGTH_DELIMITED:
                if tag & 7 == VARINT and data[at] < 0x80 and tag >= 8:
                    at += 1
                else:
                    self._fields_left = left
                    at = self._skip(at, end, tag, depth)
                    left = self._fields_left
                if known is not None and (known.repeated or known.bulk):
                    self._count(1, known, counts)
                continue
            length = data[at]
            at += 1
            if length >= 0x80:
                length, at = read_varint(data, at - 1, end, MAX_VARINT_BYTES)
            start, at = at, at + length
            if at > end or tag < 8 or tag > MAX_TAG or length > MAX_LENGTH:
                raise MalformedMessageError("a field that is none, or ends after the message")
            if known is None or known.text:
                self._count_text(length, known)
            if known is None:
                continue
            if known.packed_bytes:
                self._count_packed(start, at, known, counts)
            elif known.repeated or known.bulk:
                self._count(1, known, counts)
            if known.nested is not None:
                if not depth:
                    raise MalformedMessageError("a message within too many others")
                self._fields_left = left
                # Protobuf merges messages that are one field.
                self.message(start, at, known.nested, {} if known.repeated else counts, depth - 1)
                left = self._fields_left
        if at != end:
            raise MalformedMessageError("a field that ends after the message")
        self._fields_left = left

    def _skip(self, at: int, end: int, tag: int, depth: int) -> int:
        """Return where a value without a length ends."""
        wire_type = tag & 7
        if not 8 <= tag <= MAX_TAG:
            raise MalformedMessageError("a tag that is none")
        if wire_type == VARINT:
            return read_varint(self._data, at, end, MAX_VARINT_BYTES)[1]
        if wire_type in FIXED_BYTES:
            return at + FIXED_BYTES[wire_type]
        if wire_type == START_GROUP and depth:
            return self._skip_group(at, end, tag, depth - 1)
        raise MalformedMessageError("a kind of field that there is not, or a group within too many others")

    def _skip_group(self, at: int, end: int, group: int, depth: int) -> int:
        """Return where a group ends: no message that is served has any, so nothing in it is known."""
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise self._too_many_fields()
            tag, at = read_varint(self._data, at, end, MAX_TAG_BYTES)
            if tag & 7 == END_GROUP:
                if tag >> 3 != group >> 3:
                    break
                return at
            if tag & 7 == LENGTH_DELIMITED and 8 <= tag <= MAX_TAG:
                length, at = read_varint(self._data, at, end, MAX_VARINT_BYTES)
                at += length
                if at > end or length > MAX_LENGTH:
                    break
                self._count_text(length, None)
            else:
                at = self._skip(at, end, tag, depth)
        raise MalformedMessageError("a group without an end")

    def _too_many_fields(self) -> MessageLimitError:
        return MessageLimitError("", self._limits.max_fields, "fields in all")

    def _count(self, count: int, known: FieldShape, counts: dict[str, int]) -> None:
        if known.bulk:
            self.has_bulk = True
            return
        total = counts[known.path] = counts.get(known.path, 0) + count
        if total > self._limits.max_entries:
            raise MessageLimitError(known.path, self._limits.max_entries, "entries")

    def _count_text(self, byte_count: int, known: FieldShape | None) -> None:
        self._text_left -= byte_count
        if self._text_left < 0:
            path = "" if known is None else known.path
            raise MessageLimitError(path, self._limits.max_text_bytes, "bytes of text and unknown fields in all")

    def _count_packed(self, start: int, end: int, known: FieldShape, counts: dict[str, int]) -> None:
        size = known.packed_bytes
        if (end - start) % size:
            raise MalformedMessageError("a list that ends within a number")
        if known.bulk:
            self.has_bulk = True
            return
        left = self._limits.max_entries - counts.get(known.path, 0)
        if end - start > left * (size if size > 1 else MAX_VARINT_BYTES):
            raise MessageLimitError(known.path, self._limits.max_entries, "entries")
        count = (end - start) // size
        if size == 1:  # of varints it is those bytes that end one
            count = len(bytes(self._data[start:end]).translate(None, _CONTINUED))
        self._count(count, known, counts)
