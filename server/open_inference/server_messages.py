# SPDX-License-Identifier: Apache-2.0
"""ModelInferRequest in, ModelInferResponse out, with the pixels as views and one copy on the way out.

The header (everything but contents) is parsed by protobuf once it has been counted, and remembered where it repeats;
only the contents are cut out by hand. Tests hold the two to saying the same of what a message is.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from open_inference import wire
from open_inference.bounded_cache import BoundedCache
from open_inference.client_messages import (
    BYTE_SIZE,
    MAX_HEADER_BYTES,
    OFFSET,
    RAW_INPUT_FIELD,
    RAW_OUTPUT_FIELD,
    REGION,
    OutputRequest,
    Place,
)
from open_inference.tensors import Buffer, Tensor
from open_inference.typed_contents import TypedContents, read_contents

Parameter: TypeAlias = bool | int | float | str
Parameters: TypeAlias = Mapping[str, Parameter]
_TYPED = wire.Inner(
    service_pb2.ModelInferRequest.INPUTS_FIELD_NUMBER,
    service_pb2.ModelInferRequest.InferInputTensor.CONTENTS_FIELD_NUMBER,
)
_LONG_BYTES = 64 << 10
_NO_TYPED: Mapping[int, TypedContents] = {}
_PLACE_PARAMETERS = frozenset({REGION, BYTE_SIZE, OFFSET})


@dataclass(frozen=True, slots=True)
class InputHeader:
    """What a request says of one input. `typed` names the kind of typed contents it came with, if any."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    place: Place | None
    typed: str


@dataclass(frozen=True, slots=True, repr=False)
class InferHeader:
    """A request without its contents.

    `extra` says that tensors carry parameters that only the model's own server understands.
    """

    model: str
    version: str
    id: str
    parameters: Parameters
    inputs: tuple[InputHeader, ...]
    outputs: tuple[OutputRequest, ...]
    extra: bool


class InferRequest(NamedTuple):
    """A request: its header, and as views of what arrived its raw contents, and typed ones by the input's index."""

    header: InferHeader
    contents: tuple[memoryview, ...]
    typed: Mapping[int, TypedContents] = _NO_TYPED

    @property
    def takes_long(self) -> bool:
        """Whether to make numbers of its typed contents is too much for the event loop."""
        return sum(contents.varint_bytes for contents in self.typed.values()) > _LONG_BYTES


class _Repeated(NamedTuple):
    """How messages of one length have begun, up to the one raw content that all the rest of them was."""

    prefix: bytes
    header: InferHeader


class MessageCheck(Protocol):
    """Who says what a message may have, and what its sender is told where it has more."""

    def check(self, data: Buffer) -> bool:
        """Return where a message may be read; tell whether it has typed contents."""

    def unreadable(self) -> Exception:
        """Return what to raise where protobuf cannot read it."""


class RequestReader:
    """Reads ModelInferRequests.

    Owns the memory of repeated headers, and of how messages began, by their length. Invariant: a message
    that begins like one before it and is as long says the same, as all that follows is one content.

    Args:
        messages: Looks at each before anything is made of it.
    """

    def __init__(self, messages: MessageCheck) -> None:
        self._messages = messages
        self._headers = BoundedCache[bytes, InferHeader]()
        self._repeated = BoundedCache[int, _Repeated]()

    def read(self, message: Buffer) -> InferRequest:
        """Read one.

        Raises:
            DamagedContentsError: Typed contents end within a number.
            Exception: What the check says of a message that is none, or has more than it may.
        """
        view = memoryview(message)
        size = len(view)
        known = self._repeated.get(size)
        if known is not None and view[: len(known.prefix)] == known.prefix:
            return InferRequest(known.header, (view[len(known.prefix) :],))
        has_typed = self._messages.check(message)
        cut = wire.cut(message, RAW_INPUT_FIELD, _TYPED if has_typed else None)
        if cut is None:
            raise self._messages.unreadable()
        header = self._headers.get(cut.rest)
        if header is None:
            try:
                header = _header_of(service_pb2.ModelInferRequest.FromString(cut.rest))
            except DecodeError as exc:
                raise self._messages.unreadable() from exc
            if len(cut.rest) <= MAX_HEADER_BYTES:
                self._headers[cut.rest] = header
        if cut.inner:
            return _with_typed(InferRequest(header, cut.contents), cut.inner)
        request = InferRequest(header, cut.contents)
        self._remember(view, cut.rest, request)
        return request

    def _remember(self, message: memoryview, rest: bytes, request: InferRequest) -> None:
        """Remember how a message began whose last field is its one raw content."""
        if len(request.contents) != 1 or len(rest) > MAX_HEADER_BYTES:
            return
        prefix = rest + wire.head(RAW_INPUT_FIELD, len(request.contents[0]))
        if message[: len(prefix)] == prefix:  # the content is no earlier field: no other begins like it
            self._repeated[len(message)] = _Repeated(prefix, request.header)


def _with_typed(request: InferRequest, found: Sequence[tuple[int, memoryview]]) -> InferRequest:
    """Return a request with typed contents, a view of which is `found` for each time that an input has some."""
    by_index: dict[int, list[memoryview]] = {}
    for index, view in found:
        by_index.setdefault(index, []).append(view)
    typed = {index: read_contents(views) for index, views in by_index.items()}
    inputs = tuple(
        replace(tensor, typed=typed[index].kind) if index in typed else tensor
        for index, tensor in enumerate(request.header.inputs)
    )
    return request._replace(header=replace(request.header, inputs=inputs), typed=typed)


def with_raw(request: InferRequest) -> InferRequest:
    """Return a request whose typed contents are numbers in the raw encoding already. For any thread.

    Raises:
        DamagedContentsError: A number is none.
    """
    inputs = request.header.inputs
    return request._replace(
        typed={index: contents.made_raw(inputs[index].datatype) for index, contents in request.typed.items()}
    )


def _header_of(message: service_pb2.ModelInferRequest) -> InferHeader:
    inputs, outputs, extra = [], [], False
    for tensor in message.inputs:
        place, others = _place_of(tensor.parameters)
        inputs.append(InputHeader(tensor.name, tensor.datatype, tuple(tensor.shape), place, ""))
        extra = extra or others
    for output in message.outputs:
        place, others = _place_of(output.parameters)
        outputs.append(OutputRequest(output.name, place))
        extra = extra or others
    return InferHeader(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        parameters={key: _value_of(value) for key, value in message.parameters.items()},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        extra=extra,
    )


def _place_of(parameters: Mapping[str, service_pb2.InferParameter]) -> tuple[Place | None, bool]:
    """Return where a tensor lies, if its parameters say so, and whether they say anything else."""
    if not parameters:
        return None, False
    told = dict(parameters.items())
    others = not told.keys() <= _PLACE_PARAMETERS
    if REGION not in told:
        return None, others
    offset = told[OFFSET].int64_param if OFFSET in told else 0
    length = told[BYTE_SIZE].int64_param if BYTE_SIZE in told else 0
    return Place(told[REGION].string_param, offset, length), others


def _value_of(parameter: service_pb2.InferParameter) -> Parameter:
    kind = parameter.WhichOneof("parameter_choice")
    value: Parameter = getattr(parameter, kind) if kind is not None else ""
    return value


class InferResponse(NamedTuple):
    """An answer to be written. Outputs named in `placed` went to the caller's shared memory."""

    model: str
    version: str
    id: str
    outputs: Sequence[Tensor]
    placed: Collection[str]
    # Says that nothing follows, to callers of streams who asked to be told.
    final: bool = False


class ResponseWriter:
    """Writes ModelInferResponses; owns the memory of how repeated ones begin."""

    def __init__(self) -> None:
        self._beginnings = BoundedCache[tuple[object, ...], bytes]()

    def write(self, response: InferResponse) -> list[Buffer]:
        """Return the message in pieces; joining them copies the outputs once.

        An output that is placed has an empty raw content, as from Triton.
        """
        outputs = response.outputs
        if len(outputs) == 1 and not response.placed:
            (output,) = outputs
            length = len(output.data)
            return [self._beginning(response, (length,), output), output.data]
        contents = [[] if output.name in response.placed else [output.data] for output in outputs]
        return wire.with_contents(self._beginning(response, (), *outputs), RAW_OUTPUT_FIELD, contents)

    def _beginning(self, response: InferResponse, length: tuple[int, ...], *outputs: Tensor) -> bytes:
        """Return all that is before the contents, or before the bytes of the one content whose `length` is given."""
        key = (
            response.model,
            response.version,
            response.id,
            response.final,
            length,
            *[(output.name, output.datatype, output.shape) for output in outputs],
        )
        beginning = self._beginnings.get(key)
        if beginning is None:
            beginning = bytes(_response_header(response).SerializeToString())
            beginning += b"".join(wire.head(RAW_OUTPUT_FIELD, size) for size in length)
            self._beginnings[key] = beginning
        return beginning


def _response_header(response: InferResponse) -> service_pb2.ModelInferResponse:
    header = service_pb2.ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    if response.final:
        header.parameters["triton_final_response"].bool_param = True
    for output in response.outputs:
        header.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    return header


def join_and_release(pieces: Sequence[Buffer]) -> bytes:
    """Join the pieces of a message, and let go of what they looked at without waiting for anybody's bookkeeping."""
    message = b"".join(pieces)
    release(pieces)
    return message


def release(buffers: Iterable[Buffer]) -> None:
    """Let go of the memory behind views."""
    for buffer in buffers:
        if isinstance(buffer, memoryview):
            buffer.release()
