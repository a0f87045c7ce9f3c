# SPDX-License-Identifier: Apache-2.0
"""Reads an ONNX file and refuses what cannot become a matting entry, saying what was found and what was expected."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from matting_models.errors import InterfaceError, ModelUnreadableError, OpsetUnsupportedError
from matting_models.graph.nodes import dimensions, opset_of, sort_nodes
from matting_models.graph.wrap import FLOAT_TYPES

OLDEST_OPSET = 9
# What the surgery writes needs 11; older graphs are converted.
SURGERY_OPSET = 11
# The newest that onnxruntime and OpenVINO of the pinned versions run.
NEWEST_OPSET = 22

_OWN_DOMAINS = {"", "ai.onnx"}
_RUNNABLE_DOMAINS = _OWN_DOMAINS | {"com.microsoft", "ai.onnx.ml"}
# Before this version of the format every constant had to be an input as well, which exports disregard and we undo.
_CONSTANTS_NEED_NO_INPUT_SINCE = 4
_RECURRENT = {"LSTM", "GRU", "RNN"}


def load_model(path: Path) -> onnx.ModelProto:
    """The model in `path`, its external data included, its nodes in the order they run.

    Raises:
        ModelUnreadableError: not ONNX, damaged, or its external data is missing.
        OpsetUnsupportedError: its operators are of a version or a maker that the engines do not run.
    """
    if not path.is_file():
        raise ModelUnreadableError(f"{path} does not exist or is not a file; an ONNX file was expected.")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as exc:
        raise ModelUnreadableError(f"{path} is not an ONNX model (it does not parse as one).") from exc
    if not model.graph.node or not model.opset_import:
        raise ModelUnreadableError(f"{path} is not an ONNX model (it holds no graph).")
    _load_external_data(model, path)
    model.ir_version = max(model.ir_version, _CONSTANTS_NEED_NO_INPUT_SINCE)
    try:
        sort_nodes(model.graph)
    except ValueError as exc:
        raise ModelUnreadableError(f"The graph of {path} cannot run: {exc}.") from exc
    return _at_workable_opset(model)


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    places = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    missing = sorted(place for place in places if not (path.parent / place).is_file())
    if missing:
        raise ModelUnreadableError(
            f"{path} keeps its weights in {', '.join(missing)}, which is not beside it. "
            "Copy the file(s) into the same folder."
        )
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as exc:
        raise ModelUnreadableError(f"The weights of {path} cannot be read: {exc}") from exc


def _at_workable_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    foreign = sorted({entry.domain for entry in model.opset_import} - _RUNNABLE_DOMAINS)
    used = {node.domain for node in model.graph.node}
    foreign = [domain for domain in foreign if domain in used]
    if foreign:
        raise OpsetUnsupportedError(
            f"The model uses operators of {', '.join(foreign)}, which no engine here runs. "
            "Export it with ONNX's own operators."
        )
    opset = opset_of(model)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise OpsetUnsupportedError(
            f"The model has opset {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} are supported. "
            f"Export it again with an opset in that range (17 is a good choice)."
        )
    if opset >= SURGERY_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, SURGERY_OPSET)
    except RuntimeError as exc:
        raise OpsetUnsupportedError(
            f"The model has opset {opset} and cannot be converted to {SURGERY_OPSET}: {exc}"
        ) from exc


def require_one_photo_in(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """The network's one input.

    Raises:
        InterfaceError: several inputs, recurrent state, a trimap, or no float picture of three colours.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    _refuse_more_than_a_photo(inputs, {node.op_type for node in graph.node})
    value = inputs[0]
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise InterfaceError(f"Input {value.name} is a {kind}, expected one tensor.")
    tensor = value.type.tensor_type
    dims = dimensions(value)
    if len(dims) != 4:
        raise InterfaceError(
            f"Input {value.name} has the shape {dims}; expected four axes: [N, 3, H, W] or [N, H, W, 3]."
        )
    if tensor.elem_type not in FLOAT_TYPES:
        name = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise InterfaceError(f"Input {value.name} is {name}; expected FLOAT, FLOAT16 or DOUBLE.")
    if 4 in (dims[1], dims[3]) and 3 not in (dims[1], dims[3]):
        raise InterfaceError(
            f"Input {value.name} has four channels ({dims}): photo and trimap. Nobody draws a trimap for this "
            "service; only networks that need the photo alone can be served."
        )
    if all(isinstance(d, str) for d in dims):
        raise InterfaceError(
            f"Nothing is fixed in input {value.name} ({dims}), not even the three colours. "
            "Export it with the channel axis fixed, or fix it with onnx.tools.update_model_dims."
        )
    if 3 not in (dims[1], dims[3]):
        raise InterfaceError(
            f"Input {value.name} has the shape {dims}; expected three colours: [N, 3, H, W] or [N, H, W, 3]."
        )
    return value


def _refuse_more_than_a_photo(inputs: list[onnx.ValueInfoProto], operators: set[str]) -> None:
    names = [value.name for value in inputs]
    if not inputs:
        raise InterfaceError("The model has no input; expected one photo.")
    lowered = [name.lower() for name in names]
    if any("trimap" in name for name in lowered):
        raise InterfaceError(
            f"The model wants a trimap (inputs {', '.join(names)}). Nobody draws a trimap for this service; only "
            "networks that need the photo alone can be served."
        )
    if {"r1i", "r2i", "r3i", "r4i"}.intersection(lowered) or (len(names) > 1 and operators & _RECURRENT):
        raise InterfaceError(
            f"The model keeps state from frame to frame (inputs {', '.join(names)}), as video matting does. Every "
            "photo here stands for itself; only networks without state can be served."
        )
    if len(names) > 1:
        raise InterfaceError(f"The model has {len(names)} inputs ({', '.join(names)}); expected one photo.")
