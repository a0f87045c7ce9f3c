# SPDX-License-Identifier: Apache-2.0
"""Small tools on ONNX graphs: building nodes for any opset, following dependencies, pruning."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BATCH_DIMENSION = "N"

# From this opset on the axes of these operators are an input instead of an attribute.
_AXES_INPUT_SINCE = {"Squeeze": 13, "Unsqueeze": 13, "ReduceSum": 13}
_REDUCE_AXES_INPUT_SINCE = 18


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators the model asks for."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def axes_are_an_input(op_type: str, opset: int) -> bool:
    """Whether `op_type` takes its axes as an input at `opset`."""
    return opset >= _AXES_INPUT_SINCE.get(op_type, _REDUCE_AXES_INPUT_SINCE)


class Chain:
    """Nodes written one after another, each working on the last one's output.

    Invariant: `tensor` names the output of the last node. Names begin with `prefix`, so that two chains in one
    graph never meet.
    """

    def __init__(self, tensor: str, prefix: str, opset: int) -> None:
        self.tensor = tensor
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._prefix = prefix
        self._opset = opset

    def constant(self, value: "np.typing.NDArray[np.generic]") -> str:
        """Adds a constant and returns its name."""
        name = f"{self._prefix}constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def then(self, op_type: str, *more_inputs: str, **attributes: Any) -> "Chain":
        """Appends `op_type(tensor, *more_inputs)`."""
        return self.apply(op_type, [self.tensor, *more_inputs], **attributes)

    def apply(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> "Chain":
        """Appends a node with freely chosen inputs."""
        output = f"{self._prefix}{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        self.tensor = output
        return self

    def over_axes(self, op_type: str, axes: Sequence[int], **attributes: Any) -> "Chain":
        """Appends an operator over axes, written as the opset wants them."""
        if axes_are_an_input(op_type, self._opset):
            return self.then(op_type, self.constant(np.array(axes, np.int64)), **attributes)
        return self.then(op_type, axes=list(axes), **attributes)

    def rename_output(self, name: str) -> None:
        """Gives the last node's output the name `name`."""
        self.nodes[-1].output[0] = name
        self.tensor = name


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node (`If`, `Loop`, `Scan`)."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Every tensor a node reads, those read by graphs inside it included."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from names_read(inner)
        yield from (output.name for output in graph.output)


def sort_nodes(graph: onnx.GraphProto) -> bool:
    """Puts nodes after those whose answers they read, keeping their order otherwise; True if any had to move.

    ONNX asks for that order and engines do without, so exports come that lack it.

    Raises:
        ValueError: nodes read one another's answers in a circle.
    """
    moved = [sort_nodes(inner) for node in graph.node for inner in subgraphs(node)]
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needed = [
        {producers[name] for name in names_read(node) if producers.get(name, index) != index}
        for index, node in enumerate(graph.node)
    ]
    readers: list[list[int]] = [[] for _ in needed]
    for index, sources in enumerate(needed):
        for source in sources:
            readers[source].append(index)
    waiting_for = [len(sources) for sources in needed]
    ready = [index for index, count in enumerate(waiting_for) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            waiting_for[reader] -= 1
            if waiting_for[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(needed):
        circle = next(node for index, node in enumerate(graph.node) if waiting_for[index])
        raise ValueError(f"node {circle.name or circle.output[0]} needs its own answer")
    if order == list(range(len(order))):
        return any(moved)
    _replace(graph.node, [graph.node[index] for index in order])
    return True


def keep_only(graph: onnx.GraphProto, outputs: Iterable[str]) -> int:
    """Drops the outputs not named and all that feeds only them; returns how many nodes went."""
    wanted = set(outputs)
    needed = set(wanted)
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(names_read(node))
            kept.append(node)
    dropped = len(graph.node) - len(kept)
    _replace(graph.node, kept[::-1])
    _replace(graph.input, [value for value in graph.input if value.name not in {t.name for t in graph.initializer}])
    _replace(graph.output, [output for output in graph.output if output.name in wanted])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    return dropped


def depends_on(graph: onnx.GraphProto, source: str) -> set[str]:
    """Names of the tensors whose values or shapes follow from `source`."""
    reached = {source}
    for node in graph.node:
        if reached.intersection(names_read(node)):
            reached.update(node.output)
    return reached


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Gives tensors other names wherever they are written or read, graphs inside nodes included."""
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
        for inner in subgraphs(node):
            rename(inner, names)
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = names.get(value.name, value.name)


def constants_of(graph: onnx.GraphProto) -> "dict[str, np.typing.NDArray[np.generic]]":
    """Values of the small constants (up to 64 elements) by name: initializers and `Constant` nodes."""
    values = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if int(np.prod(tensor.dims)) <= 64
    }
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    values[node.output[0]] = numpy_helper.to_array(attribute.t)
                elif attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
                    values[node.output[0]] = np.array(helper.get_attribute_value(attribute))
    return values


def dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    """A tensor's dimensions: numbers, symbols, or '?' where nothing is known (some exports write -1 or 0 for that)."""
    return [d.dim_value if d.dim_value > 0 else (d.dim_param or "?") for d in value.type.tensor_type.shape.dim]


def _replace(field: "object", items: Sequence[object]) -> None:
    del field[:]  # type: ignore[attr-defined]  # repeated protobuf fields have no common public type
    field.extend(items)  # type: ignore[attr-defined]  # as above
