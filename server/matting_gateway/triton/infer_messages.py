# SPDX-License-Identifier: Apache-2.0
"""ModelInferRequest and ModelInferResponse between gateway and Triton, without message objects for the pixels.

Field numbers are those of Triton's `grpc_service.proto`. A request is a list of pieces, joined
once; an answer is read as views into what arrived.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from matting_gateway.domain import Buffer
from matting_gateway.triton import wire


@dataclass(frozen=True, slots=True)
class Place:
    """Where in registered shared memory a tensor lies."""

    region: str
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class InputMessage:
    """An input: its bytes are the `chunks` one after the other, or lie at `place`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    chunks: Sequence[Buffer] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """An output wanted; at `place` if given, else in the answer."""

    name: str
    place: Place | None = None


@dataclass(frozen=True, slots=True, repr=False)
class OutputMessage:
    """An output of an answer: `raw` is None where it was written to shared memory."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: memoryview | None


@dataclass(frozen=True, slots=True, repr=False)
class InferAnswer:
    """An answer, as far as the gateway reads it."""

    model_version: str
    outputs: tuple[OutputMessage, ...]


def request_pieces(
    model: str, version: str, inputs: Sequence[InputMessage], outputs: Sequence[OutputRequest]
) -> list[Buffer]:
    """Return a ModelInferRequest as pieces to be joined."""
    header = [wire.text(1, model), wire.text(2, version)]
    header += [wire.delimited(5, _input_header(tensor)) for tensor in inputs]
    header += [wire.delimited(6, wire.text(1, output.name) + _place(2, output.place)) for output in outputs]
    pieces: list[Buffer] = [b"".join(header)]
    for tensor in inputs:
        if tensor.place is None:
            pieces.append(wire.head(7, sum(map(len, tensor.chunks))))
            pieces += tensor.chunks
    return pieces


def _input_header(tensor: InputMessage) -> bytes:
    return (
        wire.text(1, tensor.name)
        + wire.text(2, tensor.datatype)
        + wire.packed(3, tensor.shape)
        + _place(4, tensor.place)
    )


def _place(field: int, place: Place | None) -> bytes:
    if place is None:
        return b""
    entries = [
        wire.text(1, "shared_memory_region") + wire.delimited(2, wire.text(3, place.region)),
        _int_entry("shared_memory_byte_size", place.length_bytes),
        _int_entry("shared_memory_offset", place.offset_bytes),
    ]
    return b"".join(wire.delimited(field, entry) for entry in entries)


def _int_entry(key: str, value: int) -> bytes:
    return wire.text(1, key) + wire.delimited(2, wire.varint(2 << 3 | wire.VARINT) + wire.varint(value))


def read_answer(message: bytes) -> InferAnswer:
    """Read a ModelInferResponse; the raw tensors are views into `message`.

    Raises:
        DecodeError: The bytes are no such message.
    """
    try:
        return _read_fast(memoryview(message))
    except wire.UnusualMessageError:
        return _read_by_protobuf(message)


def _read_fast(data: memoryview) -> InferAnswer:
    version = ""
    outputs: list[tuple[str, str, tuple[int, ...], bool]] = []
    raws: list[memoryview] = []
    for field, wire_type, start, stop in wire.fields(data, 0, len(data)):
        if wire_type != wire.LENGTH_DELIMITED:
            raise wire.UnusualMessageError
        if field == 2:
            version = wire.read_text(data, start, stop)
        elif field == 5:
            outputs.append(_read_output(data, start, stop))
        elif field == 6:
            raws.append(data[start:stop])
        elif field not in (1, 3, 4):
            raise wire.UnusualMessageError
    return _answer(version, outputs, raws)


def _read_output(data: memoryview, start: int, stop: int) -> tuple[str, str, tuple[int, ...], bool]:
    name = datatype = ""
    shape: tuple[int, ...] = ()
    placed = False
    for field, wire_type, begin, end in wire.fields(data, start, stop):
        if wire_type != wire.LENGTH_DELIMITED or (field == 3 and shape):
            raise wire.UnusualMessageError
        if field == 1:
            name = wire.read_text(data, begin, end)
        elif field == 2:
            datatype = wire.read_text(data, begin, end)
        elif field == 3:
            shape = wire.read_packed_int64(data, begin, end)
        elif field == 4:
            placed = placed or b"shared_memory_region" in bytes(data[begin:end])
        else:
            raise wire.UnusualMessageError
    return name, datatype, shape, placed


def _read_by_protobuf(message: bytes) -> InferAnswer:
    answer = service_pb2.ModelInferResponse.FromString(message)
    outputs = [
        (output.name, output.datatype, tuple(output.shape), "shared_memory_region" in output.parameters)
        for output in answer.outputs
    ]
    return _answer(answer.model_version, outputs, [memoryview(raw) for raw in answer.raw_output_contents])


def _answer(
    version: str, outputs: Sequence[tuple[str, str, tuple[int, ...], bool]], raws: Sequence[memoryview]
) -> InferAnswer:
    """Bring headers and contents together: Triton writes one raw content an output, empty for one in shared memory."""
    if len(raws) not in (len(outputs), 0):
        raise DecodeError("the answer has not one raw content an output")
    contents: Sequence[memoryview | None] = raws or [None] * len(outputs)
    return InferAnswer(
        version,
        tuple(
            OutputMessage(name, datatype, shape, None if placed else raw)
            for (name, datatype, shape, placed), raw in zip(outputs, contents, strict=True)
        ),
    )
