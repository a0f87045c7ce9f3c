# SPDX-License-Identifier: Apache-2.0
"""ModelInferRequest and ModelInferResponse between gateway and Triton.

Headers go through protobuf, pixels around it: a request is a list of pieces, an answer is read as views into what
arrived. Messages are those of Triton's `grpc_service.proto`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from open_inference import wire
from open_inference.bounded_cache import BoundedCache
from open_inference.tensors import Buffer

RAW_INPUT_FIELD = service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
RAW_OUTPUT_FIELD = service_pb2.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
MAX_HEADER_BYTES = 1024  # of one that is remembered
REGION, BYTE_SIZE, OFFSET = "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"


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


@dataclass(frozen=True, slots=True)
class OutputHeader:
    """What an answer says of one output."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnswerHeader:
    """An answer without its raw contents. `typed`: it came with contents of the other kind."""

    model_version: str
    outputs: tuple[OutputHeader, ...]
    typed: bool


@dataclass(frozen=True, slots=True, repr=False)
class InferAnswer:
    """An answer: one content for each output, empty for those that were asked for in shared memory."""

    header: AnswerHeader
    contents: tuple[memoryview, ...]


def write_request(
    model: str, version: str, inputs: Sequence[InputMessage], outputs: Sequence[OutputRequest]
) -> list[Buffer]:
    """Return a ModelInferRequest in pieces; the pixels among them are those of the inputs, and not copied."""
    header = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for tensor in inputs:
        put_place(header.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape), tensor.place)
    for output in outputs:
        put_place(header.outputs.add(name=output.name), output.place)
    contents = [tensor.chunks for tensor in inputs if tensor.place is None]
    return wire.with_contents(header.SerializeToString(), RAW_INPUT_FIELD, contents)


def put_place(
    tensor: service_pb2.ModelInferRequest.InferInputTensor | service_pb2.ModelInferRequest.InferRequestedOutputTensor,
    place: Place | None,
) -> None:
    """Write down where a tensor lies."""
    if place is not None:
        tensor.parameters[REGION].string_param = place.region
        tensor.parameters[BYTE_SIZE].int64_param = place.length_bytes
        tensor.parameters[OFFSET].int64_param = place.offset_bytes


class AnswerReader:
    """Reads ModelInferResponses; the raw tensors are views into the message.

    Owns the memory of headers that repeat. Invariant: none of them has contents, which would stay behind.
    """

    def __init__(self) -> None:
        self._headers = BoundedCache[bytes, AnswerHeader]()

    def read(self, message: bytes | bytearray) -> InferAnswer:
        """Read one.

        Raises:
            DecodeError: The bytes are no such message, or not one that goes together.
        """
        cut = wire.cut(message, RAW_OUTPUT_FIELD)
        if cut is None:
            raise DecodeError("the answer is no message, or one of more parts than any has")
        header = self._headers.get(cut.rest)
        if header is None:
            header = _answer_header(cut.rest)
            if len(cut.rest) <= MAX_HEADER_BYTES and not header.typed:
                self._headers[cut.rest] = header
        if header.typed or len(cut.contents) != len(header.outputs):
            raise DecodeError("the answer has not one raw content for each output")
        return InferAnswer(header, cut.contents)


def _answer_header(data: bytes) -> AnswerHeader:
    answer = service_pb2.ModelInferResponse.FromString(data)
    return AnswerHeader(
        answer.model_version,
        tuple(OutputHeader(output.name, output.datatype, tuple(output.shape)) for output in answer.outputs),
        any(output.HasField("contents") for output in answer.outputs),
    )
