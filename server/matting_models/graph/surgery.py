# SPDX-License-Identifier: Apache-2.0
"""Turns an export into the one interface: a real batch axis, one output, the arithmetic inside.

Each step is a function of its own file; this one tells their order and collects what there is to say.
"""

from dataclasses import dataclass, replace

import onnx

from matting_models.errors import InterfaceError, RecipeError
from matting_models.graph.answer import Answer
from matting_models.graph.batch_axis import Shapes, mend_batch_axis
from matting_models.graph.loading import require_one_photo_in
from matting_models.graph.nodes import BATCH_DIMENSION, dimensions, keep_only, opset_of, rename
from matting_models.graph.traits import ends_in
from matting_models.graph.wrap import one_interface
from matting_models.recipes.recipe import ALPHA, IMAGE, Activation, Layout, Recipe


@dataclass(frozen=True, slots=True)
class Operated:
    """What the surgery made, and notes for a person.

    `sides_px` is (height, width), None where they are free. `doubts` tell where the graph works on the batch axis.
    """

    model: onnx.ModelProto
    recipe: Recipe
    input_name: str
    output_name: str
    sides_px: tuple[int, int] | None
    notes: tuple[str, ...]
    doubts: tuple[str, ...]


def choose_output(graph: onnx.GraphProto, known_names: tuple[str, ...], wanted: str = "") -> str:
    """The output that is the alpha: the one asked for, the first known by name, or the first.

    Raises:
        InterfaceError: the one asked for does not exist.
    """
    names = [output.name for output in graph.output]
    if not names:
        raise InterfaceError("The model has no output; expected one alpha.")
    if wanted:
        if wanted not in names:
            raise InterfaceError(f"The model has no output {wanted}; it has {', '.join(names)}.")
        return wanted
    return next((name for name in known_names if name in names), names[0])


def operate(
    model: onnx.ModelProto,
    recipe: Recipe,
    output_name: str,
    answer: Answer,
    *,
    wanted_sides_px: tuple[int, int] | None = None,
    batching: bool = True,
    settled: bool = False,
) -> Operated:
    """Gives the network the one interface. `model` is used up; `answer` tells how its output holds the alpha.

    `wanted_sides_px` (height, width) is a size asked for by name; without one a network with free sides keeps
    them if its fit keeps the aspect, and gets the recipe's size otherwise. `batching` False leaves a batch of 1.
    `settled` takes the recipe's activation as it is; otherwise one the graph already has is not added again.

    Raises:
        InterfaceError: not one photo in.
        RecipeError: the size asked for does not fit the network.
    """
    graph = model.graph
    value = require_one_photo_in(graph)
    notes = []
    others = len(graph.output) - 1
    dropped = keep_only(graph, [output_name])
    if others:
        notes.append(f"kept output {output_name}; dropped {others} others and {dropped} nodes that fed only them")
    recipe = with_layout(recipe, graph)
    if not settled:
        recipe, note = with_activation(recipe, graph, output_name)
        notes += [note] if note else []
    sides = sides_of(recipe, graph, wanted_sides_px)
    rename(graph, {name: f"network.{name}" for name in (IMAGE, ALPHA)})
    del graph.value_info[:]
    _fix_input(graph.input[0], recipe.layout, 1, sides)
    shapes = inferred_shapes(model)
    doubts: tuple[str, ...] = ()
    if batching:
        mended = mend_batch_axis(graph, shapes, opset_of(model))
        notes += mended.notes()
        doubts = tuple(mended.doubts)
        _fix_input(graph.input[0], recipe.layout, BATCH_DIMENSION, sides)
    one_interface(model, recipe, sides, answer, opset_of(model), BATCH_DIMENSION if batching else 1)
    return Operated(model, recipe, value.name, output_name, sides, tuple(notes), doubts)


def with_layout(recipe: Recipe, graph: onnx.GraphProto) -> Recipe:
    """The recipe with the layout the graph declares."""
    dims = dimensions(require_one_photo_in(graph))
    return replace(recipe, layout=Layout.NHWC if dims[1] != 3 and dims[3] == 3 else Layout.NCHW)


def with_activation(recipe: Recipe, graph: onnx.GraphProto, output_name: str) -> tuple[Recipe, str]:
    """The recipe with the activation the graph lacks, and a note where it was changed."""
    kind = ends_in(graph, output_name)
    if recipe.activation is Activation.SIGMOID and kind == "probability":
        return replace(recipe, activation=Activation.NONE), "the sigmoid is in the graph already; none is added"
    if recipe.activation is Activation.NONE and kind == "logit":
        return replace(recipe, activation=Activation.SIGMOID), "the graph ends in logits; a sigmoid is added"
    return recipe, ""


def inferred_shapes(model: onnx.ModelProto) -> Shapes:
    """Shapes by tensor name, as far as inference gets; the model itself stays as it is."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError):
        return {}
    graph = inferred.graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes: dict[str, list[int | str]] = {value.name: dimensions(value) for value in values if _is_ranked(value)}
    return shapes | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def _is_ranked(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.HasField("shape")


def sides_of(recipe: Recipe, graph: onnx.GraphProto, wanted: tuple[int, int] | None) -> tuple[int, int] | None:
    """The (height, width) that the network gets, None where each photo keeps its own. `recipe` has the graph's layout.

    Raises:
        RecipeError: the size asked for does not fit the network, or one must be given.
    """
    value = require_one_photo_in(graph)
    dims = dimensions(value)
    height, width = dims[2:4] if recipe.layout is Layout.NCHW else dims[1:3]
    if isinstance(height, int) and isinstance(width, int):
        if wanted is not None and wanted != (height, width):
            asked = "x".join(map(str, reversed(wanted)))
            raise RecipeError(f"The network takes {width}x{height} pixels and nothing else; {asked} was asked for.")
        return height, width
    if wanted is not None:
        if any(side % recipe.multiple_px for side in wanted):
            asked = "x".join(map(str, reversed(wanted)))
            raise RecipeError(f"Both sides must be multiples of {recipe.multiple_px} pixels; {asked} was asked for.")
        return wanted
    if recipe.keeps_sides_free:
        return None
    if recipe.size_px is None:
        raise RecipeError("The network takes pictures of any size; say which it shall get, for example --size 1024.")
    return recipe.size_px


def _fix_input(value: onnx.ValueInfoProto, layout: Layout, batch: int | str, sides: tuple[int, int] | None) -> None:
    shape = value.type.tensor_type.shape
    height_axis = 2 if layout is Layout.NCHW else 1
    _set_dimension(shape.dim[0], batch)
    named: tuple[int | str, int | str] = sides or ("H", "W")
    for axis, side in zip((height_axis, height_axis + 1), named, strict=True):
        _set_dimension(shape.dim[axis], side)


def _set_dimension(dimension: onnx.TensorShapeProto.Dimension, value: int | str) -> None:
    dimension.Clear()
    if isinstance(value, int):
        dimension.dim_value = value
    else:
        dimension.dim_param = value
