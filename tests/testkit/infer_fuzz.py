# SPDX-License-Identifier: Apache-2.0
"""Random ModelInferRequests, whole and damaged, and the question whether the fast reader and protobuf agree."""

import random
import struct
from typing import Any

from google.protobuf.message import DecodeError
from open_inference import wire
from open_inference.message_limits import MessageLimitError, MessageLimits, check, shape_of
from open_inference.server_messages import InferRequest, RequestReader
from open_inference.tensors import Buffer
from open_inference.typed_contents import DamagedContentsError, TypedContents, field_datatype, to_raw
from open_inference.wire import MalformedMessageError
from tritonclient.grpc import service_pb2

_FIELD = service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_DATATYPES = ("UINT8", "FP32", "BYTES", "FP16", "", "x")
_KINDS = tuple(f.name for f in service_pb2.InferTensorContents.DESCRIPTOR.fields)
_VALUES: dict[str, tuple[Any, ...]] = {
    "bool_contents": (True, False),
    "int_contents": (0, 1, -1, 300, -(2**31), 2**31 - 1),
    "int64_contents": (0, -1, 127, 128, -(2**63), 2**63 - 1),
    "uint_contents": (0, 1, 200, 2**32 - 1),
    "uint64_contents": (0, 2**64 - 1, 2**35),
    "fp32_contents": (0.0, -1.5),
    "fp64_contents": (1e300, -0.0),
    "bytes_contents": (b"", b"abc"),
}
_WIDE = {kind: field_datatype(kind) for kind in _KINDS}
INFER = shape_of(
    service_pb2.ModelInferRequest.DESCRIPTOR,
    bulk=frozenset({"inference.InferTensorContents"}),
)
# As Triton's own clients encode them.
_CODES = {"BOOL": "?", "INT32": "i", "INT64": "q", "UINT32": "I", "UINT64": "Q", "FP32": "f", "FP64": "d"}


class Counted:
    """Looks at messages before they are read: with limits that only hostile ones exceed."""

    def check(self, data: Buffer) -> bool:
        return check(data, INFER, MessageLimits())

    def unreadable(self) -> Exception:
        return MalformedMessageError("protobuf cannot read it")


def random_request(rng: random.Random) -> bytes:
    """Return a message that some writer could have written."""
    message = service_pb2.ModelInferRequest(
        model_name=rng.choice(("m", "", "ünïcode")), model_version=rng.choice(("", "1")), id=rng.choice(("", "id"))
    )
    for _ in range(rng.randrange(3)):
        tensor = message.inputs.add(name=rng.choice("ab"), datatype=rng.choice(_DATATYPES))
        tensor.shape.extend(rng.choice((1, 3, -1, 2**40, 0)) for _ in range(rng.randrange(4)))
        if rng.random() < 0.2:
            kind = rng.choice(_KINDS)
            getattr(tensor.contents, kind).extend(rng.choice(_VALUES[kind]) for _ in range(rng.randrange(4)))
        if rng.random() < 0.2:
            tensor.parameters["shared_memory_region"].string_param = "r"
    for _ in range(rng.randrange(2)):
        message.outputs.add(name="y")
    if rng.random() < 0.4:
        message.parameters["timeout"].int64_param = rng.choice((1, -1, 2**62))
    message.raw_input_contents.extend(rng.randbytes(rng.choice((0, 1, 5, 130))) for _ in range(rng.randrange(3)))
    return bytes(message.SerializeToString())


def damaged(message: bytes, rng: random.Random) -> bytes:
    """Return the message cut off, changed, doubled, or with something foreign in it."""
    position = rng.randrange(len(message) + 1)
    kind = rng.randrange(6)
    if kind == 0:
        return message[:position]
    if kind == 1 and message:
        changed = bytearray(message)
        changed[position % len(message)] = rng.randrange(256)
        return bytes(changed)
    if kind == 2:
        return message[:position] + rng.randbytes(rng.randrange(1, 6)) + message[position:]
    if kind == 3:
        return message + random_request(rng)
    if kind == 4:  # a length or tag in more bytes than it needs, or far too many
        return (
            message + b"\xba" + b"\x80" * rng.randrange(6) + b"\x00" + b"\x81" + b"\x80" * rng.randrange(10) + b"\x00z"
        )
    return message + rng.choice(
        (
            b"\x3b\x3c",
            b"\x3b\x44",
            b"\x43\x3a\x01x\x44",
            b"\x43\x4b\x4c",
            b"\x44",
            b"\x2a\x04\x2b\x2a\x00\x2c",
            b"\x38\x01",
            b"\x3d1234",
            b"\x39" + b"8" * 8,
            b"\xf8\xff\xff\xff\x0f\x01",
            b"\x00\x01",
        )
    )


def disagreement(message: bytes, reader: RequestReader) -> str | None:
    """Return what the fast reader, which remembers, and protobuf say differently of a message, None if nothing."""
    try:
        expected = service_pb2.ModelInferRequest.FromString(message)
    except DecodeError:
        expected = None
    cut = wire.cut(message, _FIELD)
    if cut is not None:
        raws = list(map(bytes, cut.contents))
        try:
            rest = service_pb2.ModelInferRequest.FromString(cut.rest)
        except DecodeError:
            rest = None
        if (rest is None) != (expected is None):
            return f"read by one only: {message!r}"
        if rest is not None and expected is not None:
            rest.raw_input_contents.extend(raws)
            if rest.SerializeToString(deterministic=True) != expected.SerializeToString(deterministic=True):
                return f"read differently: {message!r}"
    return _misread(message, expected, reader)


def _raw_of(request: InferRequest, index: int) -> list[tuple[str, bytes]]:
    contents = request.typed.get(index, TypedContents())
    return [(kind, bytes(to_raw(contents, kind, _WIDE[kind]))) for kind in _KINDS if kind in contents.kind.split(",")]


def _expected_raw(contents: service_pb2.InferTensorContents) -> list[tuple[str, bytes]]:
    raw = []
    for field, values in contents.ListFields():
        if field.name == "bytes_contents":
            raw.append((field.name, b"".join(struct.pack("<I", len(value)) + value for value in values)))
        else:
            raw.append((field.name, struct.pack(f"<{len(values)}{_CODES[_WIDE[field.name]]}", *values)))
    return sorted(raw, key=lambda pair: _KINDS.index(pair[0]))


def _misread(message: bytes, expected: service_pb2.ModelInferRequest | None, reader: RequestReader) -> str | None:
    try:
        request = reader.read(message)
        raws = [_raw_of(request, index) for index in range(len(request.header.inputs))]
    except (MalformedMessageError, MessageLimitError, DamagedContentsError):
        return None if expected is None else f"refused wrongly: {message!r}"
    if expected is None:
        return f"accepted wrongly: {message!r}"
    same = (
        request.header.model == expected.model_name
        and [i.shape for i in request.header.inputs] == [tuple(i.shape) for i in expected.inputs]
        and [bytes(c) for c in request.contents] == list(expected.raw_input_contents)
    )
    same = same and raws == [_expected_raw(tensor.contents) for tensor in expected.inputs]
    if not same:
        return f"understood differently: {message!r}"
    again = reader.read(message)
    if (again.header, list(map(bytes, again.contents))) != (request.header, list(map(bytes, request.contents))):
        return f"understood differently when it was read again: {message!r}"
    return None


def fuzz(count: int, seed: int) -> str | None:
    """Return the first disagreement over `count` messages, half of them damaged."""
    rng = random.Random(seed)
    reader = RequestReader(Counted())
    for _ in range(count // 2):
        message = random_request(rng)
        for candidate in (message, damaged(message, rng)):
            problem = disagreement(candidate, reader)
            if problem is not None:
                return problem
    return None
