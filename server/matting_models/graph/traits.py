# SPDX-License-Identifier: Apache-2.0
"""What can be read off a network's graph about its family: names, sizes, operators, and how it ends."""

from dataclasses import dataclass

import numpy as np
import onnx

from matting_models.graph.loading import require_one_photo_in
from matting_models.graph.nodes import constants_of, dimensions

_TRANSFORMER_OPERATORS = {"Softmax"}
# Side outputs that U^2-Net mixes into its answer by one 1x1 convolution; IS-Net has as many and mixes none.
_MIXED_MAP_COUNT = 6
_SQUASHING = {"Sigmoid", "HardSigmoid", "Clip", "Softmax", "Min", "Max", "Div"}
_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"}
_PASSING_ON = {"Resize", "Upsample", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Cast", "Identity", "Slice"}


@dataclass(frozen=True, slots=True)
class Traits:
    """Traits of a network. `sides` are (height, width), symbols where free."""

    input_name: str
    outputs: tuple[str, ...]
    sides: tuple[int | str, ...]
    operators: frozenset[str]
    parameter_count: int
    stretches_whole_tensor: bool
    mixes_six_maps: bool
    finds_text: bool

    @property
    def is_transformer(self) -> bool:
        return bool(self.operators & _TRANSFORMER_OPERATORS)

    @property
    def looks_like_isnet(self) -> bool:
        return self.sides == (1024, 1024) and not self.is_transformer

    @property
    def has_free_sides(self) -> bool:
        return all(isinstance(side, str) for side in self.sides)


def traits_of(graph: onnx.GraphProto) -> Traits:
    """Reads a graph.

    Raises:
        InterfaceError: it does not take one photo.
    """
    value = require_one_photo_in(graph)
    dims = dimensions(value)
    return Traits(
        input_name=value.name,
        outputs=tuple(output.name for output in graph.output),
        sides=tuple(dims[2:4] if dims[1] == 3 else dims[1:3]),
        operators=frozenset(node.op_type for node in graph.node),
        parameter_count=sum(int(np.prod(tensor.dims)) for tensor in graph.initializer),
        stretches_whole_tensor=_stretches_whole_tensor(graph),
        mixes_six_maps=_mixes_maps(graph, _MIXED_MAP_COUNT),
        finds_text=_ends_as_text_detector(graph),
    )


def _stretches_whole_tensor(graph: onnx.GraphProto) -> bool:
    """Whether a minimum and a maximum over all axes are taken."""
    constants = constants_of(graph)
    whole = set()
    for node in graph.node:
        if node.op_type in ("ReduceMin", "ReduceMax"):
            axes = [attribute for attribute in node.attribute if attribute.name == "axes"]
            given = node.input[1] if len(node.input) > 1 else ""
            covers_all = not axes and (not given or (given in constants and constants[given].size >= 4))
            if covers_all or (axes and 0 in axes[0].ints):
                whole.add(node.op_type)
    return whole == {"ReduceMin", "ReduceMax"}


def _mixes_maps(graph: onnx.GraphProto, count: int) -> bool:
    """Whether `count` maps are joined and mixed to one by a 1x1 convolution."""
    joined = {node.output[0] for node in graph.node if node.op_type == "Concat" and len(node.input) == count}
    mixing = {tensor.name for tensor in graph.initializer if list(tensor.dims) == [1, count, 1, 1]}
    return any(node.op_type == "Conv" and node.input[0] in joined and node.input[1] in mixing for node in graph.node)


def _ends_as_text_detector(graph: onnx.GraphProto) -> bool:
    """Whether an output is the sigmoid of two transposed convolutions, one after the other."""
    producers = {name: node for node in graph.node for name in node.output}

    def before(node: onnx.NodeProto | None, passing: set[str]) -> onnx.NodeProto | None:
        node = producers.get(node.input[0]) if node is not None else None
        while node is not None and node.op_type in passing:
            node = producers.get(node.input[0])
        return node

    for output in graph.output:
        last = producers.get(output.name)
        if last is not None and last.op_type == "Identity":
            last = before(last, {"Identity"})
        if last is None or last.op_type != "Sigmoid":
            continue
        second = before(last, {"Add"})
        first = before(second, {"Add", "BatchNormalization", "Relu"}) if _is_transposed(second) else None
        if _is_transposed(first):
            return True
    return False


def _is_transposed(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "ConvTranspose"


def ends_in(graph: onnx.GraphProto, output: str) -> str:
    """What the output's values are: `probability`, `logit`, or `unknown`.

    Follows the output back over operators that only move values.
    """
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(output)
    while node is not None and node.op_type in _PASSING_ON:
        node = producers.get(node.input[0])
    if node is None:
        return "unknown"
    if node.op_type in _SQUASHING:
        return "probability"
    return "logit" if node.op_type in _LINEAR else "unknown"
