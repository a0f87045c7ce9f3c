# SPDX-License-Identifier: Apache-2.0
"""What a request for tensors amounts to, checked against the model's contract. Pure.

The checks are Triton's own, in its order and, where there is one, in its words, so that callers
of a Triton find the errors they know.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from open_inference.client_messages import Place
from open_inference.datatypes import BYTES, ITEM_SIZE_BYTES, element_ends, tensor_bytes
from open_inference.server_messages import InferHeader, InferRequest, InputHeader
from open_inference.tensors import Buffer, Tensor, TensorSpec
from open_inference.typed_contents import field_datatype, fills, to_raw

from matting_gateway.domain.job import BatchKey
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import GatewayError, ModelNotFoundError, TensorInvalidError
from matting_gateway.triton.discovery.contract import fits_shape

_ID_UNKNOWN = "<id_unknown>"


@dataclass(frozen=True, slots=True)
class PlannedInput:
    """One input in the model's order: where the request has it (`raw_index` counts raw contents, -1: none)."""

    header: InputHeader
    index: int
    raw_index: int
    fixed_bytes: int | None
    element_count: int


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """A request's header, understood."""

    key: BatchKey
    row_count: int
    inputs: tuple[PlannedInput, ...]
    raw_count: int
    places: Mapping[str, Place]


def plan(header: InferHeader, contract: ModelContract) -> TensorPlan:
    """Check a header against the contract and return what it asks for.

    Raises:
        TensorInvalidError: A name, count, datatype, shape or batch size is not the model's.
    """
    _check_names(header, contract)
    batched = contract.max_batch_size > 0
    row_count = _row_count(header, contract) if batched else 1
    inputs: list[PlannedInput] = []
    key_inputs: list[TensorSpec] = []
    raw_indices = _raw_indices(header)
    given = {tensor.name: index for index, tensor in enumerate(header.inputs)}
    for spec in contract.inputs:
        index = given.get(spec.name)
        if index is None:
            continue
        tensor = header.inputs[index]
        _check_tensor(tensor, spec, header, contract)
        elements = 1
        for size in tensor.shape:
            elements *= size
        inputs.append(
            PlannedInput(tensor, index, raw_indices[index], tensor_bytes(tensor.datatype, tensor.shape), elements)
        )
        key_inputs.append(TensorSpec(spec.name, spec.datatype, tensor.shape[1:] if batched else tensor.shape))
    key = BatchKey(header.model, header.version, tuple(key_inputs), _wanted(header, contract))
    places = {output.name: output.place for output in header.outputs if output.place is not None}
    return TensorPlan(key, row_count, tuple(inputs), max(raw_indices, default=-1) + 1, places)


def gather(tensor_plan: TensorPlan, request: InferRequest, fetch: Callable[[Place], Buffer]) -> tuple[Tensor, ...]:
    """Return the request's tensors in the model's order, as views; `fetch` reads a caller's shared memory.

    Raises:
        TensorInvalidError: A content is missing, too many, or of another length than its shape says.
    """
    contents = request.contents
    header = request.header
    model = header.model
    if contents and len(contents) > tensor_plan.raw_count:
        raise TensorInvalidError(
            f"expected {tensor_plan.raw_count} raw_input_contents for model '{model}', got {len(contents)}"
        )
    tensors = []
    for planned in tensor_plan.inputs:
        tensor = planned.header
        data: Buffer
        if tensor.place is not None:
            data = fetch(tensor.place)
        elif contents and tensor.typed:
            raise TensorInvalidError(
                "contents field must not be specified when using raw_input_contents for"
                f" '{tensor.name}' for model '{model}'"
            )
        elif contents and 0 <= planned.raw_index < len(contents):
            data = contents[planned.raw_index]
        elif tensor.typed and planned.index in request.typed:
            data = to_raw(request.typed[planned.index], tensor.typed, tensor.datatype)
        else:
            raise TensorInvalidError(
                f"unable to find data for input tensor '{tensor.name}' for model '{model}' in request."
            )
        _check_length(data, planned, header)
        tensors.append(Tensor(tensor.name, tensor.datatype, tensor.shape, data))
    return tuple(tensors)


def unknown_model(error: ModelNotFoundError, model: str, version: str, *, known: bool) -> GatewayError:
    """Return Triton's own words for a model or version that is not there."""
    if version and not (version.isdecimal() and int(version) > 0):
        invalid = f"failed to get model version from specified version string '{version}'"
        translated: GatewayError = TensorInvalidError(f"{invalid}, version should be an integral value > 0")
    else:
        which = f" version {version}" if version and known else ""
        translated = ModelNotFoundError(f"Request for unknown model: '{model}'{which} is not found")
    translated.__cause__ = error
    return translated


def _refuse(header: InferHeader, text: str) -> TensorInvalidError:
    return TensorInvalidError(f"[request id: {header.id or _ID_UNKNOWN}] {text}")


def _check_names(header: InferHeader, contract: ModelContract) -> None:
    names = [tensor.name for tensor in header.inputs]
    known = {spec.name for spec in contract.inputs}
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _refuse(header, f"input '{name}' already exists in request")
        seen.add(name)
        if name not in known:
            raise TensorInvalidError(f"unexpected inference input '{name}' for model '{contract.name}'")
    missing = [
        spec.name for spec in contract.inputs if spec.name not in seen and spec.name not in contract.optional_inputs
    ]
    if missing:
        raise _refuse(
            header,
            f"expected {len(known)} inputs but got {len(names)} inputs for model '{contract.name}'."
            f" Got input(s) [{_quoted(names)}], but missing required input(s) [{_quoted(missing)}]."
            " Please provide all required input(s).",
        )
    outputs = {spec.name for spec in contract.outputs}
    for output in header.outputs:
        if output.name not in outputs:
            raise TensorInvalidError(f"unexpected inference output '{output.name}' for model '{contract.name}'")


def _quoted(names: list[str]) -> str:
    return ",".join(f"'{name}'" for name in sorted(names))


def _wanted(header: InferHeader, contract: ModelContract) -> tuple[str, ...]:
    """Return the outputs asked for in the model's order, so that the order of asking makes no other batch."""
    asked = {output.name for output in header.outputs}
    return tuple(spec.name for spec in contract.outputs if spec.name in asked)


def _raw_indices(header: InferHeader) -> list[int]:
    """Return for each input which raw content is its own; those in shared memory have none."""
    indices, following = [], 0
    for tensor in header.inputs:
        indices.append(-1 if tensor.place is not None else following)
        following += tensor.place is None
    return indices


def _row_count(header: InferHeader, contract: ModelContract) -> int:
    counts = {tensor.shape[0] for tensor in header.inputs if tensor.shape}
    if len(counts) > 1:
        name = header.inputs[0].name
        raise _refuse(header, f"input '{name}' batch size does not match other inputs for '{contract.name}'")
    row_count = counts.pop() if counts else 1
    if row_count > contract.max_batch_size:
        raise _refuse(
            header, f"inference request batch-size must be <= {contract.max_batch_size} for '{contract.name}'"
        )
    return row_count


def _check_tensor(tensor: InputHeader, spec: TensorSpec, header: InferHeader, contract: ModelContract) -> None:
    model = contract.name
    if tensor.typed and not (tensor.typed in _ALL_TYPED and fills(tensor.typed, spec.datatype)):
        kind = field_datatype(tensor.typed) if tensor.typed in _ALL_TYPED else tensor.typed
        raise TensorInvalidError(
            f"unexpected explicit tensor data for input tensor '{tensor.name}' for model '{model}'"
            f" of type '{kind}', expected datatype '{spec.datatype}'"
        )
    if tensor.datatype != spec.datatype:
        datatype = tensor.datatype if tensor.datatype in (*ITEM_SIZE_BYTES, BYTES) else "<invalid>"
        raise _refuse(
            header,
            f"inference input '{tensor.name}' data-type is '{datatype}', but model '{model}' expects '{spec.datatype}'",
        )
    declared = (-1, *spec.shape) if contract.max_batch_size > 0 else spec.shape
    least = 1 if contract.max_batch_size > 0 else 0
    if (
        not fits_shape(tensor.shape, declared)
        or min(tensor.shape, default=1) < 0
        or tensor.shape[:1] < (least,) * bool(tensor.shape)
    ):
        note = (
            " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be"
            " prepended to each input shape."
            if contract.max_batch_size > 0
            else ""
        )
        raise _refuse(
            header,
            f"unexpected shape for input '{tensor.name}' for model '{model}'."
            f" Expected {_shape(declared)}, got {_shape(tensor.shape)}.{note}",
        )


_ALL_TYPED = frozenset(
    f"{kind}_contents" for kind in ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _check_length(data: Buffer, planned: PlannedInput, header: InferHeader) -> None:
    name, model = planned.header.name, header.model
    if planned.fixed_bytes is not None:
        if len(data) != planned.fixed_bytes:
            raise _refuse(
                header,
                f"input byte size mismatch for input '{name}' for model '{model}'."
                f" Expected {planned.fixed_bytes}, got {len(data)}",
            )
    elif element_ends(memoryview(data), planned.element_count) is None:
        raise _refuse(
            header,
            f"expected {planned.element_count} string elements for inference input '{name}' for model '{model}',"
            " each after its length in 4 bytes, and nothing more",
        )
