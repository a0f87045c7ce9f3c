# SPDX-License-Identifier: Apache-2.0
"""Turns an export into the one interface: a real batch axis, one output, the arithmetic inside.

Each step is a function of its own file; this one tells their order and collects what there is to say.
"""

from dataclasses import dataclass, replace

import onnx

from matting_models.errors import InterfaceError, RecipeError
from matting_models.graph import BATCH_DIMENSION, dimensions, keep_only, opset_of, rename
from matting_models.loading import require_one_photo_in
from matting_models.presets import Preset
from matting_models.recipe import Layout, Recipe
from matting_models.wrap import ALPHA, IMAGE, one_interface


@dataclass(frozen=True, slots=True)
class Operated:
    """What the surgery made: the model, the recipe as completed from the graph, and notes for a person."""

    model: onnx.ModelProto
    recipe: Recipe
    input_name: str
    output_name: str
    sides_px: tuple[int, int] | None
    notes: tuple[str, ...]


def choose_output(graph: onnx.GraphProto, preset: Preset | None, wanted: str = "") -> str:
    """The output that is the alpha: the one asked for, one the preset knows, or the first.

    Raises:
        InterfaceError: the one asked for does not exist.
    """
    names = [output.name for output in graph.output]
    if wanted:
        if wanted not in names:
            raise InterfaceError(f"The model has no output {wanted}; it has {', '.join(names)}.")
        return wanted
    for name in preset.output_names if preset else ():
        if name in names:
            return name
    return names[0]


def operate(model: onnx.ModelProto, preset: Preset | None, recipe: Recipe, output_name: str = "") -> Operated:
    """Gives the network the one interface. `model` is used up.

    Raises:
        InterfaceError: not one photo in, or not one channel out.
        RecipeError: the recipe does not fit the network.
    """
    input_name = require_one_photo_in(model.graph).name
    output_name = choose_output(model.graph, preset, output_name)
    notes = []
    other_count = len(model.graph.output) - 1
    dropped = keep_only(model.graph, [output_name])
    if other_count:
        notes.append(f"kept output {output_name}, dropped {other_count} others and {dropped} nodes that fed only them")
    recipe = complete(recipe, model.graph)
    sides = fixed_sides(recipe, model.graph)
    rename(model.graph, {name: f"network.{name}" for name in (IMAGE, ALPHA)})
    make_batch_symbolic(model.graph, sides, recipe.layout)
    one_interface(model, recipe, sides, opset_of(model))
    return Operated(model, recipe, input_name, output_name, sides, tuple(notes))


def complete(recipe: Recipe, graph: onnx.GraphProto) -> Recipe:
    """The recipe with the layout as the graph declares it."""
    dims = dimensions(require_one_photo_in(graph))
    if dims[1] != 3 and dims[3] == 3:
        return replace(recipe, layout=Layout.NHWC)
    return replace(recipe, layout=Layout.NCHW) if dims[3] != 3 else recipe


def fixed_sides(recipe: Recipe, graph: onnx.GraphProto) -> tuple[int, int] | None:
    """(height, width) the entry takes, or None where they stay free.

    Raises:
        RecipeError: the size asked for is not the one the network has, or no size is known.
    """
    dims = dimensions(require_one_photo_in(graph))
    height, width = dims[2:4] if recipe.layout is Layout.NCHW else dims[1:3]
    if isinstance(height, int) and isinstance(width, int):
        if recipe.size_px not in (None, (height, width)):
            wanted = "x".join(map(str, reversed(recipe.size_px or ())))
            raise RecipeError(f"The network takes {width}x{height} pixels and nothing else; {wanted} was asked for.")
        return height, width
    return recipe.size_px


def make_batch_symbolic(graph: onnx.GraphProto, sides: tuple[int, int] | None, layout: Layout) -> None:
    """Frees the first dimension of input and output, fixes the sides, and forgets all inferred shapes."""
    del graph.value_info[:]
    for value, is_input in ((graph.input[0], True), (graph.output[0], False)):
        shape = value.type.tensor_type.shape
        first = shape.dim[0]
        first.Clear()
        first.dim_param = BATCH_DIMENSION
        if is_input:
            row = 2 if layout is Layout.NCHW else 1
            for axis, side in zip((row, row + 1), sides or ("H", "W"), strict=True):
                _set_dimension(shape.dim[axis], side)


def _set_dimension(dimension: onnx.TensorShapeProto.Dimension, value: int | str) -> None:
    dimension.Clear()
    if isinstance(value, int):
        dimension.dim_value = value
    else:
        dimension.dim_param = value
