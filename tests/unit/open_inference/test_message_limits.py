# SPDX-License-Identifier: Apache-2.0
"""Messages are counted before they become objects: as protobuf would, and for no more than the limits cost."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from open_inference.message_limits import (
    MessageLimitError,
    MessageLimits,
    check,
    shape_of,
)
from open_inference.wire import MalformedMessageError
from testkit.infer_fuzz import INFER, damaged, random_request
from tritonclient.grpc import service_pb2

TIGHT = MessageLimits(max_fields=30, max_entries=2, max_text_bytes=20)
BULK = frozenset({"inference.InferTensorContents"})
ITEM = shape_of(service_pb2.ModelStreamInferResponse.DESCRIPTOR)
HALF_A_MILLION = 500_000


class Watched:
    """A message that counts how often it is looked at."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.look_count = 0

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, where: Any) -> Any:
        self.look_count += 1 if isinstance(where, int) else len(self._data[where])
        return self._data[where]


def lists_of(message: Message) -> Iterator[int]:
    """Return the length of each counted list in a message."""
    is_bulk = message.DESCRIPTOR.full_name in BULK
    for field, value in message.ListFields():
        values = [value]
        if field.is_repeated:
            if not is_bulk:
                yield len(value)
            is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
            values = list(value.values()) if is_map else list(value)
        for one in values:
            if isinstance(one, Message):
                yield from lists_of(one)


def verdict(message: bytes, limits: MessageLimits) -> str:
    try:
        check(message, INFER, limits)
    except MessageLimitError:
        return "too much"
    except MalformedMessageError:
        return "malformed"
    return "fine"


@pytest.mark.slow
@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=500)
def test_what_passes_has_no_more_than_the_limits_and_what_is_malformed_is_so_to_protobuf(seed: int, hurt: bool) -> None:
    rng = random.Random(seed)
    message = random_request(rng)
    if hurt:
        message = damaged(message, rng)
    told = verdict(message, TIGHT)
    try:
        parsed = service_pb2.ModelInferRequest.FromString(message)
    except DecodeError:
        return
    assert told != "malformed"
    if told == "fine":
        assert max(lists_of(parsed), default=0) <= TIGHT.max_entries
    assert verdict(message, MessageLimits()) == "fine"


@pytest.mark.slow
@given(st.binary(max_size=100))
@settings(max_examples=500)
def test_of_random_bytes_nothing_is_refused_that_protobuf_reads(message: bytes) -> None:
    try:
        service_pb2.ModelInferRequest.FromString(message)
    except DecodeError:
        return
    assert verdict(message, MessageLimits()) == "fine"


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
def test_a_list_within_a_list_is_counted_for_each_of_them(inputs: int, sizes: int, parameters: int) -> None:
    message = service_pb2.ModelInferRequest()
    for _ in range(inputs):
        tensor = message.inputs.add(shape=[300] * sizes)
        for index in range(parameters):
            tensor.parameters[str(index)].int64_param = 1
    told = verdict(message.SerializeToString(), MessageLimits(max_fields=1000, max_entries=2))
    assert told == ("too much" if max(lists_of(message), default=0) > 2 else "fine")


@pytest.mark.parametrize(
    ("message", "path"),
    [
        pytest.param(b"\x2a\x00" * 3, "inputs", id="empty messages"),
        pytest.param(b"\x2a\x05\x1a\x03\x01\x02\x03", "inputs.shape", id="packed"),
        pytest.param(b"\x2a\x06" + b"\x18\x01" * 3, "inputs.shape", id="not packed"),
        pytest.param(b"\x2a\x08\x1a\x02\x01\x02\x18\x03\x1a\x00", "inputs.shape", id="packed and not"),
        pytest.param(b"\x22\x03\x0a\x01a" * 3, "parameters", id="entries of a map"),
        pytest.param(b"\x2a\x0c" + b"\x22\x02\x0a\x00" * 3, "inputs.parameters", id="entries of a map in a list"),
        pytest.param(b"\x3a\x00" * 3, "raw_input_contents", id="contents"),
        pytest.param(b"\xaa\x80\x00\x80\x00" * 3, "inputs", id="tags and lengths of more bytes than they need"),
    ],
)
def test_one_entry_too_many_is_named(message: bytes, path: str) -> None:
    with pytest.raises(MessageLimitError) as caught:
        check(message, INFER, TIGHT)
    assert (caught.value.path, caught.value.limit) == (path, 2)


def test_lists_of_messages_that_protobuf_merges_are_counted_together() -> None:
    answer = service_pb2.ModelInferResponse(outputs=[service_pb2.ModelInferResponse.InferOutputTensor()] * 2)
    one = service_pb2.ModelStreamInferResponse(infer_response=answer)
    assert not check(one.SerializeToString(), ITEM, TIGHT)
    with pytest.raises(MessageLimitError, match=r"infer_response\.outputs"):
        check(one.SerializeToString() * 2, ITEM, TIGHT)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        pytest.param(b"\xf8\x3f\x01" * 31, "fields", id="unknown numbers"),
        pytest.param(b"\xfa\x3f\x00" * 31, "fields", id="unknown and empty"),
        pytest.param(b"\x43" + b"\x08\x01" * 31 + b"\x44", "fields", id="in a group"),
        pytest.param(b"\x0a\x00" * 31, "fields", id="the same again and again"),
        pytest.param(b"\xfa\x3f\x15" + bytes(21), "bytes", id="an unknown field that is long"),
        pytest.param(b"\x0a\x15" + bytes(21), "bytes", id="a long name"),
        pytest.param(b"\x43\x0a\x15" + bytes(21) + b"\x44", "bytes", id="a long field in a group"),
        pytest.param(b"\x2a\x44\x2a\x42" + b"\x42\x00" * 33, "fields", id="strings of a tensor"),
        pytest.param(b"\x2a\x44\x2a\x42" + b"\x18\x00" * 33, "fields", id="numbers of a tensor one by one"),
    ],
)
def test_what_no_list_holds_is_counted_too(message: bytes, what: str) -> None:
    with pytest.raises(MessageLimitError, match=what):
        check(message, INFER, TIGHT)


def test_packed_values_of_a_tensor_and_contents_may_be_as_long_as_the_message() -> None:
    message = service_pb2.ModelInferRequest(raw_input_contents=[bytes(100_000)])
    message.inputs.add().contents.int64_contents.extend([1] * 100_000)
    assert check(message.SerializeToString(), INFER, TIGHT)


@pytest.mark.parametrize("unit", [b"\x2a\x00", b"\x32\x00", b"\x3a\x00", b"\x22\x00", b"\xf8\x3f\x01", b"\x43\x44"])
def test_half_a_million_cost_no_more_than_the_limits(unit: bytes) -> None:
    message = Watched(unit * HALF_A_MILLION)
    with pytest.raises(MessageLimitError):
        check(message, INFER, MessageLimits())  # type: ignore[arg-type]  # a buffer that counts
    assert message.look_count <= 4 * MessageLimits().max_fields


def test_a_list_of_half_a_million_is_not_looked_at() -> None:
    tensor = b"\x1a" + len(bytes(HALF_A_MILLION)).to_bytes(3, "little")
    packed = service_pb2.ModelInferRequest.InferInputTensor(shape=[1] * HALF_A_MILLION).SerializeToString()
    assert packed[:1] == tensor[:1]
    message = Watched(b"\x2a" + _varint(len(packed)) + packed)
    with pytest.raises(MessageLimitError, match="shape"):
        check(message, INFER, MessageLimits())  # type: ignore[arg-type]  # a buffer that counts
    assert message.look_count < 20


def test_groups_in_groups_end_where_protobuf_ends_them() -> None:
    for depth in (50, 99, 100, 101, 200):
        message = b"\x43" * depth + b"\x44" * depth
        try:
            service_pb2.ModelInferRequest.FromString(message)
            expected = "fine"
        except DecodeError:
            expected = "malformed"
        assert verdict(message, MessageLimits()) == expected, depth


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])
