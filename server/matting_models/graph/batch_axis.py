# SPDX-License-Identifier: Apache-2.0
"""Makes the batch axis of an export real: finds where a batch of 1 is hidden in the graph, and mends it.

A tracer writes the batch it saw into the graph in a few well-known places. Each is mended from the shapes inferred
at batch 1; whether the result is right is not believed but tried (see `trial`).

- `Reshape` to constant sizes: the first axis becomes -1, the others the sizes inferred. Window attention (Swin),
  where windows of all images share the first axis, comes right by the same rule.
- `Resize` to constant sizes, and constant tokens joined to the image's: the batch is taken from the data.
- Reductions over the whole batch (`x.min()`), as InSPyReNet's min-max has them: each image by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from matting_models.graph.nodes import axes_are_an_input, constants_of, names_read

Shapes = Mapping[str, Sequence[int | str]]

# Their outputs are sizes, not pixels.
_SHAPE_READERS = {"Shape", "Size"}
_REDUCTIONS = {
    "ReduceMin", "ReduceMax", "ReduceMean", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
}  # fmt: skip
_PREFIX = "batch."


@dataclass(slots=True)
class Mended:
    """What was found and mended, counted, and what tells why a batch may still be impossible."""

    counts: dict[str, int] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def notes(self) -> list[str]:
        """Each kind of mend in words."""
        return [f"{what} ({count})" for what, count in self.counts.items()]


class _Mender:
    """One pass over a graph. State: the nodes written so far and the constants added."""

    def __init__(self, graph: onnx.GraphProto, shapes: Shapes, opset: int) -> None:
        self._graph = graph
        self._shapes = shapes
        self._opset = opset
        self._constants = constants_of(graph)
        self._nodes: list[onnx.NodeProto] = []
        self._carries_batch = {graph.input[0].name}
        self.mended = Mended()

    def run(self) -> Mended:
        for node in self._graph.node:
            if node.op_type not in _SHAPE_READERS and self._carries_batch.intersection(names_read(node)):
                self._mend(node)
                self._carries_batch.update(node.output)
            self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        return self.mended

    def _mend(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Reshape":
            self._mend_reshape(node)
        elif node.op_type == "Resize":
            self._mend_resize(node)
        elif node.op_type == "Concat":
            self._mend_tokens(node)
        elif node.op_type in _REDUCTIONS:
            self._mend_reduction(node)
        elif node.op_type in ("Gather", "Squeeze", "Slice", "Split"):
            self._doubt_first_axis(node)

    def _mend_reshape(self, node: onnx.NodeProto) -> None:
        target = self._constants.get(node.input[1])
        if target is None or node.input[0] not in self._carries_batch or target.size == 0:
            return
        sizes = [int(size) for size in target]
        inferred = self._shapes.get(node.output[0], ())
        if len(inferred) == len(sizes) and all(isinstance(size, int) for size in inferred[1:]):
            mended = [-1, *(int(size) for size in inferred[1:])]
        elif sizes[0] == 1:
            mended = [0 if -1 in sizes else -1, *sizes[1:]]
        else:
            return
        if mended != sizes:
            node.input[1] = self._constant(np.array(mended, np.int64))
            self.mended.count("sizes with a batch of 1 written into them")

    def _mend_resize(self, node: onnx.NodeProto) -> None:
        sizes = self._constants.get(node.input[3]) if len(node.input) > 3 else None
        if sizes is None or sizes.size < 3:
            return
        first_two = self._slice_of_shape(node.input[0], 2)
        rest = self._constant(np.asarray(sizes[2:], np.int64))
        node.input[3] = self._write("Concat", [first_two, rest], axis=0)
        self.mended.count("resizing to a batch of 1")

    def _mend_tokens(self, node: onnx.NodeProto) -> None:
        axis = helper.get_node_attr_value(node, "axis")
        source = next((name for name in node.input if name in self._carries_batch), None)
        if axis == 0 or source is None:
            return
        for index, name in enumerate(node.input):
            constant = self._constants.get(name)
            shape = self._shapes.get(name) or (() if constant is None else constant.shape)
            if name not in self._carries_batch and len(shape) > 1 and shape[0] == 1:
                ones = self._constant(np.ones(len(shape) - 1, np.int64))
                wanted = self._write("Concat", [self._slice_of_shape(source, 1), ones], axis=0)
                node.input[index] = self._write("Expand", [name, wanted])
                self.mended.count("constants of batch 1 joined to the image's data")

    def _mend_reduction(self, node: onnx.NodeProto) -> None:
        shape = self._shapes.get(node.input[0], ())
        axes = self._axes_of(node)
        if not shape or axes is None:
            return
        rank = len(shape)
        positive = sorted(axis % rank for axis in axes) or list(range(rank))
        if 0 not in positive or rank == 1:
            return
        self._set_axes(node, [axis for axis in positive if axis != 0])
        self.mended.count(f"{node.op_type} over the whole batch, now of each image")

    def _doubt_first_axis(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Squeeze":
            axes = self._axes_of(node)
            touches = axes is not None and (not axes or 0 in axes)
        else:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            touches = node.op_type in ("Gather", "Split") and axis == 0
        if touches and node.input[0] in self._carries_batch:
            self.mended.doubts.append(f"{node.op_type} {node.name or node.output[0]} works on the batch axis")

    def _axes_of(self, node: onnx.NodeProto) -> list[int] | None:
        """The axes, empty for all, None where they are not constant."""
        for attribute in node.attribute:
            if attribute.name == "axes":
                return list(attribute.ints)
        if axes_are_an_input(node.op_type, self._opset) and len(node.input) > 1 and node.input[1]:
            value = self._constants.get(node.input[1])
            return None if value is None else [int(axis) for axis in value.reshape(-1)]
        return []

    def _set_axes(self, node: onnx.NodeProto, axes: list[int]) -> None:
        kept = [attribute for attribute in node.attribute if attribute.name not in ("axes", "keepdims")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("keepdims", 1)])
        if axes_are_an_input(node.op_type, self._opset):
            del node.input[1:]
            node.input.append(self._constant(np.array(axes, np.int64)))
        else:
            node.attribute.append(helper.make_attribute("axes", axes))

    def _slice_of_shape(self, name: str, count: int) -> str:
        shape = self._write("Shape", [name])
        start, stop = self._constant(np.array([0], np.int64)), self._constant(np.array([count], np.int64))
        return self._write("Slice", [shape, start, stop])

    def _write(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"{_PREFIX}{op_type.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def _constant(self, value: "np.typing.NDArray[np.int64]") -> str:
        name = f"{_PREFIX}constant_{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def mend_batch_axis(graph: onnx.GraphProto, shapes: Shapes, opset: int) -> Mended:
    """Mends the graph in place. `shapes` are those inferred at batch 1, by tensor name."""
    return _Mender(graph, shapes, opset).run()
