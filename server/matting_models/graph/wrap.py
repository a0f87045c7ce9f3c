# SPDX-License-Identifier: Apache-2.0
"""Compiles pre- and post-processing into a network: `image` UINT8 [N, H, W, 3] in, `alpha` UINT8 [N, H, W] out."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from matting_models.graph.answer import Answer
from matting_models.graph.nodes import BATCH_DIMENSION, Chain
from matting_models.recipes.recipe import ALPHA, IMAGE, Activation, Channels, Layout, Normalise, Recipe

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)

# Below this an image's largest value, or the range of its output, counts as zero: it guards divisions and
# changes nothing else (rembg guards the first with the same number and the second not at all).
SMALLEST_DIVISOR = 1e-6

_OPTIONAL_RESIZE_INPUTS_SINCE = 13
_IMAGE_AXES = (1, 2, 3)
_ALPHA_AXES = (1, 2)


def preprocessing(recipe: Recipe, network_input: str, element_type: int, opset: int) -> Chain:
    """`image` UINT8 [N, H, W, 3] -> the network's own input, as `recipe` says."""
    chain = Chain(IMAGE, "before.", opset).then("Cast", to=TensorProto.FLOAT)
    pixels = chain.tensor
    if recipe.scale is None:
        chain.over_axes("ReduceMax", _IMAGE_AXES, keepdims=1)
        chain.then("Max", chain.constant(np.array(SMALLEST_DIVISOR, np.float32)))
        chain.apply("Div", [pixels, chain.tensor])
    else:
        chain.then("Div", chain.constant(np.array(recipe.scale, np.float32)))
    if any(recipe.mean):
        chain.then("Sub", chain.constant(np.array(recipe.mean, np.float32)))
    if any(value != 1.0 for value in recipe.std):
        chain.then("Div", chain.constant(np.array(recipe.std, np.float32)))
    if recipe.channels is Channels.BGR:
        chain.then("Gather", chain.constant(np.array([2, 1, 0], np.int64)), axis=3)
    if recipe.layout is Layout.NCHW:
        chain.then("Transpose", perm=[0, 3, 1, 2])
    chain.then("Cast", to=element_type)
    chain.rename_output(network_input)
    return chain


def postprocessing(recipe: Recipe, network_output: str, answer: Answer, opset: int) -> Chain:
    """The network's own output -> `alpha` UINT8 [N, H, W], at the image's size where the network answers in another.

    Truncates to 8 bits like the authors' and rembg's own programs.
    """
    chain = Chain(network_output, "after.", opset).then("Cast", to=TensorProto.FLOAT)
    if answer.channel_axis is not None:
        chain.over_axes("Squeeze", (answer.channel_axis,))
    if recipe.activation is Activation.SIGMOID:
        chain.then("Sigmoid")
    if recipe.normalise is Normalise.MIN_MAX:
        _min_max(chain)
    if not answer.is_full_size:
        _resize_like_image(chain, opset)
    chain.apply("Max", [chain.tensor, chain.constant(np.array(0.0, np.float32))])
    chain.apply("Min", [chain.tensor, chain.constant(np.array(1.0, np.float32))])
    chain.then("Mul", chain.constant(np.array(255.0, np.float32)))
    chain.then("Floor").then("Cast", to=TensorProto.UINT8)
    chain.rename_output(ALPHA)
    return chain


def _min_max(chain: Chain) -> None:
    """`(x - min) / (max - min)` of each image by itself; a constant image becomes 0."""
    values = chain.tensor
    smallest = chain.over_axes("ReduceMin", _ALPHA_AXES, keepdims=1).tensor
    chain.tensor = values
    largest = chain.over_axes("ReduceMax", _ALPHA_AXES, keepdims=1).tensor
    chain.apply("Sub", [largest, smallest])
    span = chain.apply("Max", [chain.tensor, chain.constant(np.array(SMALLEST_DIVISOR, np.float32))]).tensor
    chain.apply("Sub", [values, smallest])
    chain.apply("Div", [chain.tensor, span])


def _resize_like_image(chain: Chain, opset: int) -> None:
    chain.over_axes("Unsqueeze", (1,))
    values = chain.tensor
    chain.apply("Shape", [IMAGE])
    height_width = chain.then(
        "Slice", chain.constant(np.array([1], np.int64)), chain.constant(np.array([3], np.int64))
    ).tensor
    chain.apply("Shape", [values])
    chain.then("Slice", chain.constant(np.array([0], np.int64)), chain.constant(np.array([2], np.int64)))
    sizes = chain.apply("Concat", [chain.tensor, height_width], axis=0).tensor
    # Before opset 13 unused inputs had to be passed as empty tensors.
    unused = chain.constant(np.array([], np.float32)) if opset < _OPTIONAL_RESIZE_INPUTS_SINCE else ""
    chain.apply("Resize", [values, unused, unused, sizes], mode="linear", coordinate_transformation_mode="half_pixel")
    chain.over_axes("Squeeze", (1,))


def one_interface(
    model: onnx.ModelProto,
    recipe: Recipe,
    size_px: tuple[int, int] | None,
    answer: Answer,
    opset: int,
    batch: int | str = BATCH_DIMENSION,
) -> None:
    """Puts the arithmetic of `recipe` around the network, in place.

    The network must have one input and one output left and no name beginning with `before.` or `after.`, nor
    `image` or `alpha`. `size_px` None keeps the sides free.
    """
    graph = model.graph
    network_input, network_output = graph.input[0], graph.output[0]
    before = preprocessing(recipe, network_input.name, network_input.type.tensor_type.elem_type, opset)
    after = postprocessing(recipe, network_output.name, answer, opset)
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.initializers, *after.initializers])
    del graph.input[:]
    del graph.output[:]
    sides = size_px or ("H", "W")
    graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [batch, *sides, 3]))
    graph.output.append(helper.make_tensor_value_info(ALPHA, TensorProto.UINT8, [batch, *sides]))
