# SPDX-License-Identifier: Apache-2.0
"""What rounding took from the weights of a quantised graph's layers, and how single layers get theirs back."""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from matting_models.graph.nodes import keep_only

_PREFIX = "float."


def restored(quantised: onnx.ModelProto, original: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """A copy of `quantised` in which `layers` compute with their own weights, in floating point.

    What they are given and what they answer stays rounded: were it not, all layers that read such an answer beside
    another's would have to follow. Both graphs must name their nodes alike.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantised)
    graph = model.graph
    _give_weights_back(graph, original.graph, set(layers))
    keep_only(graph, [output.name for output in graph.output])
    return model


def rounding_losses(quantised: onnx.ModelProto, original: onnx.ModelProto) -> dict[str, float]:
    """For each layer with rounded weights, the size of the rounding error over that of the weights: 0 to 1."""
    rounded = {tensor.name: tensor for tensor in quantised.graph.initializer}
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    own = {node.name: node.input[1] for node in original.graph.node if len(node.input) > 1 and node.input[1] in weights}
    producers = {node.output[0]: node for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
    losses = {}
    for node in quantised.graph.node:
        source = producers.get(node.input[1]) if node.name in own else None
        if source is None or source.input[0] not in rounded:
            continue
        steps, scale = (numpy_helper.to_array(rounded[name]) for name in source.input[:2])
        axis = next((helper.get_attribute_value(found) for found in source.attribute if found.name == "axis"), 1)
        if scale.ndim:
            scale = scale.reshape([-1 if place == axis % steps.ndim else 1 for place in range(steps.ndim)])
        exact = numpy_helper.to_array(weights[own[node.name]])
        size = float(np.linalg.norm(exact))
        losses[node.name] = float(np.linalg.norm(steps * scale - exact)) / size if size else 0.0
    return losses


def _give_weights_back(graph: onnx.GraphProto, original: onnx.GraphProto, layers: set[str]) -> None:
    weights = {tensor.name: tensor for tensor in original.initializer}
    sources = {node.name: node for node in original.node if node.name in layers}
    present = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        source = sources.get(node.name)
        if source is None:
            continue
        for index in range(1, len(source.input)):
            name = source.input[index]
            if name not in weights:
                continue
            if _PREFIX + name not in present:
                tensor = graph.initializer.add()
                tensor.CopyFrom(weights[name])
                tensor.name = _PREFIX + name
                present.add(tensor.name)
            node.input[index] = _PREFIX + name
