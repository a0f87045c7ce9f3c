# SPDX-License-Identifier: Apache-2.0
"""Writes the sizes that a graph computes for its Resize nodes as constants, where the picture's sides are fixed.

Exports work the size of each enlargement out from the shapes of other tensors. That hides the shapes of all that
follows from shape inference, and keeps engines from planning ahead.
"""

from typing import TypeAlias

import numpy as np
import onnx

from matting_models.graph.nodes import keep_only
from matting_models.trials.engines import ort_session

Shape: TypeAlias = tuple[int, ...]


def with_constant_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an entry's graph whose Resize nodes enlarge by constant factors; itself where the sides are free.

    A node is left as it is where no factor gives exactly its size, or where it works on the batch axis.
    """
    shapes = resize_shapes(model)
    if not shapes:
        return model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for node in (node for node in fixed.graph.node if node.op_type == "Resize"):
        given, wanted = shapes[node.output[0]]
        factors = np.array(wanted, np.float32) / np.array(given, np.float32)
        if given[0] != wanted[0] or tuple(np.floor(np.array(given, np.float32) * factors)) != wanted:
            continue
        constant = onnx.numpy_helper.from_array(factors, f"factors.{node.name or node.output[0]}")
        fixed.graph.initializer.append(constant)
        # The optional inputs are (region, factors, sizes); the region serves only a mode that matting does not use.
        region = node.input[1] if len(node.input) > 1 else ""
        del node.input[1:]
        node.input.extend([region, constant.name])
    keep_only(fixed.graph, [output.name for output in fixed.graph.output])
    return fixed


def resize_shapes(model: onnx.ModelProto) -> dict[str, tuple[Shape, Shape]]:
    """The shapes that Resize nodes are given and answer for one picture, by the name of their answer.

    They are found by a trial; there are none where the sides are free.
    """
    sides = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    nodes = [node for node in model.graph.node if node.op_type == "Resize"]
    if 0 in sides or not nodes:
        return {}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = list(dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0])))
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    answers = ort_session(probe.SerializeToString()).run(None, {"image": np.zeros((1, *sides), np.uint8)})
    shapes = {name: answer.shape for name, answer in zip(names, answers, strict=True)}
    return {node.output[0]: (shapes[node.input[0]], shapes[node.output[0]]) for node in nodes}
