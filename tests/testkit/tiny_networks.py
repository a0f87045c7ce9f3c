# SPDX-License-Identifier: Apache-2.0
"""Small networks with the interfaces and quirks of real matting exports, random weights and a fixed seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str]


class Net:
    """A graph under construction; `at` names the newest tensor."""

    def __init__(self, name: str, dims: Dims, *, seed: int = 1, element_type: int = TensorProto.FLOAT) -> None:
        self.input = helper.make_tensor_value_info(name, element_type, list(dims))
        self.at = name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._type = element_type
        self._rng = np.random.default_rng(seed)

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *more: str, source: str = "", **attributes: Any) -> "Net":
        output = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, [source or self.at, *more], [output], name=f"{kind}_{output}", **attributes)
        )
        self.at = output
        return self

    def conv(self, channels_in: int, channels_out: int, size: int = 3, stride: int = 1) -> "Net":
        shape = (channels_out, channels_in, size, size)
        dtype = np.float16 if self._type == TensorProto.FLOAT16 else np.float32
        weight = self._rng.normal(0, 1 / np.sqrt(channels_in * size * size), shape).astype(dtype)
        bias = self._rng.normal(0, 0.1, channels_out).astype(dtype)
        pad = size // 2
        return self.op("Conv", self.constant(weight), self.constant(bias), pads=[pad] * 4, strides=[stride] * 2)

    def output(self, name: str, dims: Dims, source: str = "") -> "Net":
        self.nodes.append(helper.make_node("Identity", [source or self.at], [name], name=f"out_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, self._type, list(dims)))
        return self

    def model(self, opset: int = 17) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "tiny", [self.input], self.outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    def save(self, path: Path, opset: int = 17) -> Path:
        onnx.save(self.model(opset), path)
        return path


def u2net(side: int = 32, *, input_name: str = "input.1", first: str = "1959", width: int = 4, depth: int = 0) -> Net:
    """Seven sigmoid outputs, batch 1 declared, and a resize to constant sizes that hides it.

    `depth` is how many convolutions lie between the first and the last.
    """
    net = Net(input_name, [1, 3, side, side])
    net.conv(3, width, stride=2).op("Relu")
    for _ in range(depth):
        net.conv(width, width).op("Relu")
    small = net.at
    sizes = net.constant(np.array([1, width, side, side], np.int64))
    empty = net.constant(np.array([], np.float32))
    net.op("Resize", empty, empty, sizes, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    net.conv(width, 1).op("Sigmoid").output(first, [1, 1, side, side])
    for index in range(6):
        net.at = small
        net.conv(width, 1).op("Sigmoid").output(str(1960 + index), [f"d{index}", "a", "b", "c"])
    return net


def isnet(side: int = 32, *, output_count: int = 12) -> Net:
    """Six masks and six feature maps."""
    net = Net("input_image", [1, 3, side, side])
    net.conv(3, 4).op("Relu")
    body = net.at
    for index in range(output_count):
        net.at = body
        net.conv(4, 1).op("Sigmoid").output("output_image" if index == 0 else f"side{index}", [1, 1, side, side])
    return net


def modnet(input_name: str = "input", output_name: str = "output") -> Net:
    """Batch and sides free."""
    net = Net(input_name, ["batch_size", 3, "height", "width"])
    net.conv(3, 4)
    net.op("InstanceNormalization", net.constant(np.ones(4, np.float32)), net.constant(np.zeros(4, np.float32)))
    net.op("Relu").conv(4, 1).op("Sigmoid")
    return net.output(output_name, ["batch_size", 1, "height", "width"])


def birefnet(
    side: int = 32, *, input_name: str = "input_image", output_name: str = "output_image", sigmoid: bool = False
) -> Net:
    """Window attention whose traced sizes hide a batch of 1; ends in logits unless `sigmoid`."""
    window, channels = 8, 4
    per_side = side // window
    net = Net(input_name, [1, 3, side, side])
    net.conv(3, channels).op("Transpose", perm=[0, 2, 3, 1])
    net.op("Reshape", net.constant(np.array([1, per_side, window, per_side, window, channels], np.int64)))
    net.op("Transpose", perm=[0, 1, 3, 2, 4, 5])
    net.op("Reshape", net.constant(np.array([per_side * per_side, window * window, channels], np.int64)))
    tokens = net.at
    keys = net.op("Transpose", perm=[0, 2, 1]).at
    net.op("MatMul", keys, source=tokens).op("Softmax", axis=-1)
    net.op("MatMul", tokens)
    net.op("Reshape", net.constant(np.array([1, per_side, per_side, window, window, -1], np.int64)))
    net.op("Transpose", perm=[0, 1, 3, 2, 4, 5])
    net.op("Reshape", net.constant(np.array([1, side, side, channels], np.int64)))
    net.op("Transpose", perm=[0, 3, 1, 2]).conv(channels, 1)
    if sigmoid:
        net.op("Sigmoid")
    return net.output(output_name, [1, 1, side, side])


def inspyrenet(side: int = 32) -> Net:
    """A min-max over the whole tensor inside the graph."""
    net = Net("input", [1, 3, side, side])
    net.conv(3, 4).op("Relu").conv(4, 1).op("Sigmoid")
    values = net.at
    smallest = net.op("ReduceMin", source=values, keepdims=0).at
    largest = net.op("ReduceMax", source=values, keepdims=0).at
    span = net.op("Sub", smallest, source=largest).at
    divisor = net.op("Add", net.constant(np.array(1e-8, np.float32)), source=span).at
    net.op("Sub", smallest, source=values).op("Div", divisor)
    return net.output("output", [1, 1, side, side])


def ben2(side: int = 32) -> Net:
    """A loop over the batch, traced: only the first image is ever looked at."""
    net = Net("input", [1, 3, side, side])
    net.op("Gather", net.constant(np.array(0, np.int64)), axis=0)
    net.op("Unsqueeze", net.constant(np.array([0], np.int64)))
    net.conv(3, 4).op("Relu").conv(4, 1)
    return net.output("output", [1, 1, side, side])


def withoutbg(side: int = 32, answer_side: int = 24) -> Net:
    """Answers in another size than it is asked in, under the name `alpha`, with a class token of batch 1."""
    net = Net("rgb", [1, 3, side, side])
    net.conv(3, 4, stride=2).op("Reshape", net.constant(np.array([1, 4, -1], np.int64)))
    net.op("Transpose", perm=[0, 2, 1])
    token = net.constant(np.ones((1, 1, 4), np.float32))
    net.op("Concat", token, axis=1)
    starts, stops = net.constant(np.array([0], np.int64)), net.constant(np.array([side * side // 4], np.int64))
    net.op("Slice", starts, stops, net.constant(np.array([1], np.int64))).op("Transpose", perm=[0, 2, 1])
    net.op("Reshape", net.constant(np.array([1, 4, side // 2, side // 2], np.int64)))
    sizes = net.constant(np.array([1, 4, answer_side, answer_side], np.int64))
    net.op("Resize", "", "", sizes, mode="nearest")
    net.conv(4, 1).op("Sigmoid")
    return net.output("alpha", [1, 1, answer_side, answer_side])


def plain(side: int = 32, *, element_type: int = TensorProto.FLOAT, name: str = "input") -> Net:
    """A network of no known family, batch 1 declared only."""
    net = Net(name, [1, 3, side, side], element_type=element_type)
    net.conv(3, 4).op("Relu").conv(4, 1).op("Sigmoid")
    return net.output("mask", [1, 1, side, side])


def unsorted(net: Net) -> onnx.ModelProto:
    """The network with its nodes backwards, as a real export of IS-Net has some; onnxruntime runs such graphs."""
    model = net.model()
    backwards = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(backwards)
    return model


def of_the_third_format(net: Net) -> onnx.ModelProto:
    """The network in version 3 of the file format, whose constants are no inputs, as that version wants them."""
    model = net.model(opset=11)
    model.ir_version = 3
    return model


def deformable(side: int = 32) -> Net:
    """A deformable convolution, as newer exports of BiRefNet have it: opset 19 and later, refused by OpenVINO."""
    net = Net("input_image", [1, 3, side, side])
    net.conv(3, 4).op("Relu")
    body = net.at
    offsets = net.conv(4, 18).op("Mul", net.constant(np.array(0.1, np.float32))).at
    weight = net.constant(np.random.default_rng(7).normal(0, 0.2, (4, 4, 3, 3)).astype(np.float32))
    net.at = body
    net.op("DeformConv", weight, offsets, kernel_shape=[3, 3], pads=[1, 1, 1, 1]).op("Relu").conv(4, 1)
    return net.output("output_image", [1, 1, side, side])


def classifier(side: int = 32, class_count: int = 1000) -> Net:
    """Scores for the whole picture, in the shape that looks like an alpha with colours last."""
    net = Net("data", [1, 3, side, side])
    net.conv(3, class_count, size=1).op("GlobalAveragePool").op("Softmax", axis=1)
    return net.output("scores", [1, class_count, 1, 1])


def detector(side: int = 32, feature_count: int = 22) -> Net:
    """A table of boxes: [N, features, places], as YOLO answers."""
    net = Net("images", [1, 3, side, side])
    net.conv(3, feature_count, stride=4).op("Sigmoid")
    net.op("Reshape", net.constant(np.array([1, feature_count, -1], np.int64)))
    return net.output("output0", [1, feature_count, (side // 4) ** 2])


def text_detector(input_name: str = "x") -> Net:
    """A probability map of letters, of the photo's own size, from two transposed convolutions, as PP-OCR ends."""
    net = Net(input_name, ["batch", 3, "height", "width"])
    net.conv(3, 4, stride=4).op("Relu")
    rng = np.random.default_rng(3)
    for channels, last in ((4, False), (1, True)):
        weight = net.constant(rng.normal(0, 0.3, (4, channels, 2, 2)).astype(np.float32))
        net.op("ConvTranspose", weight, strides=[2, 2], kernel_shape=[2, 2])
        net.op("Sigmoid" if last else "Relu")
    return net.output("sigmoid_0.tmp_0", ["batch", 1, "height", "width"])


def face_parts(side: int = 32) -> Net:
    """Four channels, undeclared: what they are is seen when it runs."""
    net = Net("input", [1, 3, side, side])
    net.conv(3, 4).op("Sigmoid")
    return net.output("parts", ["n", "c", "h", "w"])


def chaotic(side: int = 32) -> Net:
    """An answer that hangs on the last bit of the picture's mean: a sine of many turns of it is added everywhere."""
    net = Net("input", [1, 3, side, side])
    net.conv(3, 1).op("Sigmoid")
    values = net.at
    net.op("ReduceMean", axes=[1, 2, 3], keepdims=1, source="input")
    net.op("Mul", net.constant(np.array(1e8, np.float32))).op("Sin")
    net.op("Mul", net.constant(np.array(0.4, np.float32))).op("Add", values)
    return net.output("mask", [1, 1, side, side])
