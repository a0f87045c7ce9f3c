# SPDX-License-Identifier: Apache-2.0
"""Gives single layers of a quantised graph their own weights back, so that the harm of rounding can be measured."""

from collections.abc import Collection

import onnx

from matting_models.graph import keep_only

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
