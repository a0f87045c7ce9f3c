# SPDX-License-Identifier: Apache-2.0
"""Cheaper forms, with the same numbers, of what a network does to maps of a single channel.

Networks with side outputs enlarge several such maps to the picture's size and mix them by a 1x1 convolution. OpenVINO
vectorises over channels, of which there is one: in U^2-Net these steps took a tenth of the time of the int8 form.
Enlarging by linear interpolation is a product with a matrix from either side, and the mixing a weighted sum.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from matting_models.graph.nodes import keep_only
from matting_models.graph.sizes import Shape, resize_shapes

_INTERPOLATIONS = {"half_pixel", "pytorch_half_pixel"}


def with_cheap_single_maps(model: onnx.ModelProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an entry's graph. `like` is the same graph, perhaps before quantisation: shapes are taken from it."""
    shapes = resize_shapes(like)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in list(graph.node):
        if _enlarges_single_map(node, shapes):
            made, tensors = _products(node, *shapes[node.output[0]])
        elif (weights := _mixing_weights(node, producers, constants)) is not None:
            offset = constants[node.input[2]] if len(node.input) > 2 else np.zeros(1, np.float32)
            made, tensors = _weighted_sum(node, list(producers[node.input[0]].input), weights, offset)
        else:
            made, tensors = [onnx.NodeProto.FromString(node.SerializeToString())], []
        nodes += made
        graph.initializer.extend(tensors)
    del graph.node[:]
    graph.node.extend(nodes)
    keep_only(graph, [output.name for output in graph.output])
    return changed


def _enlarges_single_map(node: onnx.NodeProto, shapes: dict[str, tuple[Shape, Shape]]) -> bool:
    if node.op_type != "Resize" or node.output[0] not in shapes:
        return False
    given, wanted = shapes[node.output[0]]
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    linear = attributes.get("mode") == b"linear" and not attributes.get("antialias", 0)
    way = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    return linear and way in _INTERPOLATIONS and len(wanted) == 4 and given[:2] == wanted[:2] and wanted[1] == 1


def _products(node: onnx.NodeProto, given: Shape, wanted: Shape) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    name = node.name or node.output[0]
    rows, columns, tall = f"rows.{name}", f"columns.{name}", f"tall.{name}"
    made = [
        helper.make_node("MatMul", [rows, node.input[0]], [tall], name=tall),
        helper.make_node("MatMul", [tall, columns], [node.output[0]], name=f"wide.{name}"),
    ]
    matrices = [
        numpy_helper.from_array(interpolation(given[2], wanted[2]), rows),
        numpy_helper.from_array(np.ascontiguousarray(interpolation(given[3], wanted[3]).T), columns),
    ]
    return made, matrices


def interpolation(given: int, wanted: int) -> npt.NDArray[np.float32]:
    """The matrix [wanted, given] that enlarges a line linearly, pixels being areas (`half_pixel`)."""
    at = np.clip((np.arange(wanted) + 0.5) * given / wanted - 0.5, 0, given - 1)
    left = np.floor(at).astype(int)
    matrix = np.zeros((wanted, given), np.float32)
    lines = np.arange(wanted)
    matrix[lines, left] += 1 - (at - left)
    matrix[lines, np.minimum(left + 1, given - 1)] += at - left
    return matrix


def _mixing_weights(
    node: onnx.NodeProto, producers: dict[str, onnx.NodeProto], constants: dict[str, npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32] | None:
    """The weights of a 1x1 convolution of joined single maps to one; None for any other node."""
    joined = producers.get(node.input[0]) if node.op_type == "Conv" else None
    weights = constants.get(node.input[1]) if joined is not None else None
    if joined is None or weights is None or joined.op_type != "Concat":
        return None
    return weights.ravel() if weights.shape == (1, len(joined.input), 1, 1) else None


def _weighted_sum(
    node: onnx.NodeProto, maps: list[str], weights: npt.NDArray[np.float32], offset: npt.NDArray[np.float32]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    name = node.name or node.output[0]
    tensors: list[onnx.TensorProto] = []

    def terms() -> Iterator[onnx.NodeProto]:
        total = f"offset.{name}"
        tensors.append(numpy_helper.from_array(np.array(offset[0], np.float32), total))
        for index, (source, weight) in enumerate(zip(maps, weights, strict=True)):
            share, part, after = (f"{what}{index}.{name}" for what in ("share", "part", "sum"))
            tensors.append(numpy_helper.from_array(np.array(weight, np.float32), share))
            yield helper.make_node("Mul", [source, share], [part], name=part)
            last = index == len(maps) - 1
            yield helper.make_node("Add", [part, total], [node.output[0] if last else after], name=after)
            total = after

    return list(terms()), tensors
