# SPDX-License-Identifier: Apache-2.0
"""The few messages of the Open Inference Protocol that a load test sends, written as protobuf wire bytes.

Only four field kinds of two messages are needed, so nothing is generated or imported for them.
Field numbers: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from collections.abc import Sequence

_VARINT, _LENGTH_DELIMITED = 0, 2


def infer_request(
    model: str, name: str, datatype: str, shape: Sequence[int], data: bytes, timeout_us: int | None = None
) -> bytes:
    """Write a `ModelInferRequest` with one input in `raw_input_contents`, and the `timeout` parameter if given."""
    dimensions = _field(3, _LENGTH_DELIMITED, b"".join(map(_varint, shape)))
    tensor = _text(1, name) + _text(2, datatype) + dimensions
    request = _text(1, model) + _field(5, _LENGTH_DELIMITED, tensor) + _field(7, _LENGTH_DELIMITED, data)
    return request if timeout_us is None else timeout_parameter(timeout_us) + request


def infer_response(output: bytes) -> bytes:
    """Write a `ModelInferResponse` with one raw output."""
    return _field(6, _LENGTH_DELIMITED, output)


def timeout_parameter(timeout_us: int) -> bytes:
    """Write the entry `timeout` of a request's parameters; may stand before or after the rest of the message."""
    value = _field(2, _VARINT, _varint(timeout_us))  # InferParameter.int64_param
    entry = _text(1, "timeout") + _field(2, _LENGTH_DELIMITED, value)
    return _field(4, _LENGTH_DELIMITED, entry)


def raw_output_bytes(response: bytes) -> int:
    """Return the total length of `raw_output_contents` of a `ModelInferResponse`; 0 where there is none.

    Raises:
        ValueError: The bytes are no protobuf message.
    """
    total = offset = 0
    while offset < len(response):
        tag, offset = _read_varint(response, offset)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, offset = _read_varint(response, offset)
        elif kind == _LENGTH_DELIMITED:
            length, offset = _read_varint(response, offset)
            offset += length
            total += length if number == 6 else 0
        else:
            raise ValueError(f"wire type {kind} in a ModelInferResponse")
    if offset != len(response):
        raise ValueError("a ModelInferResponse that ends within a field")
    return total


def _text(number: int, text: str) -> bytes:
    return _field(number, _LENGTH_DELIMITED, text.encode())


def _field(number: int, kind: int, content: bytes) -> bytes:
    length = _varint(len(content)) if kind == _LENGTH_DELIMITED else b""
    return _varint(number << 3 | kind) + length + content


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if offset >= len(data) or shift > 63:
            raise ValueError("a broken varint")
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
