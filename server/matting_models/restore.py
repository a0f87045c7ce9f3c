# SPDX-License-Identifier: Apache-2.0
"""Takes single layers of a quantised graph back to floating point, so that their harm can be measured."""

from collections.abc import Collection

import onnx

from matting_models.graph import keep_only

_PREFIX = "float."


def restored(quantised: onnx.ModelProto, original: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """A copy of `quantised` in which `layers` have their own weights back and answer unrounded.

    Both graphs must name their nodes alike.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantised)
    graph = model.graph
    wanted = set(layers)
    producers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, index))
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and _layer_behind(node.input[0], producers) in wanted:
            for dequantize, _ in readers.get(node.output[0], []):
                for reader, index in readers.get(dequantize.output[0], []):
                    reader.input[index] = node.input[0]
    _give_weights_back(graph, original.graph, wanted)
    keep_only(graph, [output.name for output in graph.output])
    return model


def _layer_behind(tensor: str, producers: dict[str, onnx.NodeProto]) -> str:
    """The heavy layer whose answer a tensor is, seen through what only passes one input on."""
    node = producers.get(tensor)
    while node is not None and node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        node = producers.get(node.input[0]) if node.input else None
    return "" if node is None else node.name


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
