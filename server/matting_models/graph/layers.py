# SPDX-License-Identifier: Apache-2.0
"""The layers of a network that int8 speeds up, and what each costs."""

from dataclasses import dataclass

import numpy as np
import onnx

from matting_models.graph.batch_axis import Shapes
from matting_models.graph.surgery import inferred_shapes

_HEAVY = {"Conv", "ConvTranspose", "MatMul", "Gemm"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer by its node's name, and its share of the network's multiplications, 0 to 1."""

    name: str
    share: float


def layers_of(model: onnx.ModelProto, sides_px: tuple[int, int]) -> list[Layer]:
    """All layers in the order they run. Those whose shapes are not known count as large as the largest."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    dims = sized.graph.input[0].type.tensor_type.shape.dim
    for axis, size in enumerate((1, *sides_px, 3)):
        dims[axis].Clear()
        dims[axis].dim_value = size
    shapes = inferred_shapes(sized)
    costs: dict[str, float | None] = {}
    for node in sized.graph.node:
        if node.op_type in _HEAVY:
            costs[node.name] = _multiplications(node, shapes)
    known = [cost for cost in costs.values() if cost]
    largest = max(known, default=1.0)
    total = sum(cost or largest for cost in costs.values())
    return [Layer(name, (cost or largest) / total) for name, cost in costs.items()]


def _multiplications(node: onnx.NodeProto, shapes: Shapes) -> float | None:
    output, weight = shapes.get(node.output[0]), shapes.get(node.input[1])
    data = shapes.get(node.input[0])
    if not all(shape and all(isinstance(size, int) for size in shape) for shape in (output, weight, data)):
        return None
    outputs = float(np.prod([int(size) for size in output or ()]))
    if node.op_type == "Conv":
        return outputs * float(np.prod([int(size) for size in (weight or ())[1:]]))
    if node.op_type == "ConvTranspose":
        kernel = float(np.prod([int(size) for size in (weight or ())[1:]]))
        return float(np.prod([int(size) for size in data or ()])) * kernel
    return outputs * float(int((data or [1])[-1]))


def end_layers(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of the first layers, which the picture reaches through no other, and of the last."""
    constants = {tensor.name for tensor in graph.initializer}
    ends = _first(graph, [value.name for value in graph.input if value.name not in constants]) | _last(graph)
    return tuple(node.name for node in graph.node if node.name in ends)


def _first(graph: onnx.GraphProto, sources: list[str]) -> set[str]:
    """Layers that read what comes from `sources` through no other layer; `graph` is in the order it runs."""
    reached, found = set(sources), set()
    for node in graph.node:
        if reached.intersection(node.input):
            if node.op_type in _HEAVY:
                found.add(node.name)
            else:
                reached.update(node.output)
    return found


def _last(graph: onnx.GraphProto) -> set[str]:
    """Layers whose answers reach an output through no other layer."""
    reached, found = {value.name for value in graph.output}, set()
    for node in reversed(graph.node):
        if reached.intersection(node.output):
            if node.op_type in _HEAVY:
                found.add(node.name)
            else:
                reached.update(node.input)
    return found
