# SPDX-License-Identifier: Apache-2.0
"""Random ModelInferRequests, whole and damaged, and the question whether the fast reader and protobuf agree."""

import random

from google.protobuf.message import DecodeError
from matting_gateway.errors import TensorInvalidError
from matting_gateway.rpc.infer_wire import RequestReader
from matting_gateway.triton import wire
from tritonclient.grpc import service_pb2

_FIELD = service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_DATATYPES = ("UINT8", "FP32", "BYTES", "FP16", "", "x")
_KINDS = ("int_contents", "uint_contents", "fp32_contents", "bool_contents")


def random_request(rng: random.Random) -> bytes:
    """Return a message that some writer could have written."""
    message = service_pb2.ModelInferRequest(
        model_name=rng.choice(("m", "", "ünïcode")), model_version=rng.choice(("", "1")), id=rng.choice(("", "id"))
    )
    for _ in range(rng.randrange(3)):
        tensor = message.inputs.add(name=rng.choice("ab"), datatype=rng.choice(_DATATYPES))
        tensor.shape.extend(rng.choice((1, 3, -1, 2**40, 0)) for _ in range(rng.randrange(4)))
        if rng.random() < 0.2:
            getattr(tensor.contents, rng.choice(_KINDS)).extend([1] * rng.randrange(3))
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
        (b"\x3b\x3c", b"\x38\x01", b"\x3d1234", b"\x39" + b"8" * 8, b"\xf8\xff\xff\xff\x0f\x01", b"\x00\x01")
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


def _misread(message: bytes, expected: service_pb2.ModelInferRequest | None, reader: RequestReader) -> str | None:
    try:
        request = reader.read(message)
    except TensorInvalidError:
        return None if expected is None else f"refused wrongly: {message!r}"
    if expected is None:
        return f"accepted wrongly: {message!r}"
    same = (
        request.header.model == expected.model_name
        and [i.shape for i in request.header.inputs] == [tuple(i.shape) for i in expected.inputs]
        and [bytes(c) for c in request.contents] == list(expected.raw_input_contents)
    )
    if not same:
        return f"understood differently: {message!r}"
    again = reader.read(message)
    if (again.header, list(map(bytes, again.contents))) != (request.header, list(map(bytes, request.contents))):
        return f"understood differently when it was read again: {message!r}"
    return None


def fuzz(count: int, seed: int) -> str | None:
    """Return the first disagreement over `count` messages, half of them damaged."""
    rng = random.Random(seed)
    reader = RequestReader()
    for _ in range(count // 2):
        message = random_request(rng)
        for candidate in (message, damaged(message, rng)):
            problem = disagreement(candidate, reader)
            if problem is not None:
                return problem
    return None
