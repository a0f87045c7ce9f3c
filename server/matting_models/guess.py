# SPDX-License-Identifier: Apache-2.0
"""Guesses the family of a network from its graph, and says why; refuses to guess where a licence hangs on it."""

from dataclasses import dataclass

import numpy as np
import onnx

from matting_models.errors import RecipeError
from matting_models.graph import constants_of, dimensions
from matting_models.loading import require_one_photo_in
from matting_models.presets import PRESETS, Preset

_TRANSFORMER_OPERATORS = {"Softmax"}
_SMALL_PARAMETER_COUNT = 3_000_000
_MEDIUM_PARAMETER_COUNT = 20_000_000
_SQUASHING = {"Sigmoid", "HardSigmoid", "Clip", "Softmax", "Min", "Max", "Div"}
_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"}
_PASSING_ON = {"Resize", "Upsample", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Cast", "Identity", "Slice"}


@dataclass(frozen=True, slots=True)
class Guess:
    """A preset and the reason for it."""

    preset: Preset
    reason: str


@dataclass(frozen=True, slots=True)
class _Traits:
    input_name: str
    outputs: tuple[str, ...]
    sides: tuple[int | str, ...]
    operators: frozenset[str]
    parameter_count: int
    stretches_whole_tensor: bool

    @property
    def is_transformer(self) -> bool:
        return bool(self.operators & _TRANSFORMER_OPERATORS)

    @property
    def has_free_sides(self) -> bool:
        return all(isinstance(side, str) for side in self.sides)


def _traits_of(graph: onnx.GraphProto) -> _Traits:
    value = require_one_photo_in(graph)
    dims = dimensions(value)
    return _Traits(
        input_name=value.name,
        outputs=tuple(output.name for output in graph.output),
        sides=tuple(dims[2:4] if dims[1] == 3 else dims[1:3]),
        operators=frozenset(node.op_type for node in graph.node),
        parameter_count=sum(int(np.prod(tensor.dims)) for tensor in graph.initializer),
        stretches_whole_tensor=_stretches_whole_tensor(graph),
    )


def guess(graph: onnx.GraphProto) -> Guess:
    """The family the network most likely is of.

    Raises:
        RecipeError: none fits, or families with different licences fit equally well.
    """
    traits = _traits_of(graph)
    found = _by_names(traits) or _by_structure(traits)
    if found is None:
        sides = "x".join(str(side) for side in reversed(traits.sides))
        raise RecipeError(
            f"What this network is could not be guessed (input {traits.input_name} {sides}, outputs "
            f"{', '.join(traits.outputs[:8])}). Name its family with --preset ({', '.join(sorted(PRESETS))}), or say "
            "how it wants its photo with --mean, --std, --scale, --activation, --normalise and --resize."
        )
    name, reason = found
    return Guess(PRESETS[name], reason)


def _by_names(traits: _Traits) -> tuple[str, str] | None:
    for name in ("withoutbg", "rmbg-2.0"):
        preset = PRESETS[name]
        if traits.input_name == preset.input_names[0] and preset.output_names[0] in traits.outputs:
            return name, f"its input is {traits.input_name} and its output {preset.output_names[0]}"
    if traits.input_name == "img":
        return "pp-matting", "its input is img, as Paddle's exports have it"
    if "1959" in traits.outputs:
        return _u2net_by_size(traits), "its first output is 1959, as in rembg's U^2-Net files"
    if traits.is_transformer and {"input_image", "output_image"} <= {traits.input_name, *traits.outputs}:
        name = "birefnet-hr" if 2048 in traits.sides else "birefnet"
        return name, "input_image, output_image and attention are those of BiRefNet's exports"
    return None


def _by_structure(traits: _Traits) -> tuple[str, str] | None:
    if traits.stretches_whole_tensor:
        return "inspyrenet", "it stretches its output to 0..1 over the whole tensor, as InSPyReNet does"
    if traits.is_transformer:
        return None
    if traits.sides == (320, 320) and len(traits.outputs) in (1, 7):
        return _u2net_by_size(traits), f"320x320 pixels, {len(traits.outputs)} outputs and convolutions only"
    if traits.sides == (1024, 1024) and len(traits.outputs) in (6, 12):
        return "isnet", f"1024x1024 pixels and {len(traits.outputs)} outputs are those of IS-Net"
    if traits.sides == (1024, 1024):
        raise RecipeError(
            "This looks like IS-Net (1024x1024 pixels, convolutions only), but RMBG-1.4 looks the same and its "
            "licence forbids commercial use. Say which it is: --preset isnet or --preset rmbg-1.4."
        )
    if traits.has_free_sides and "InstanceNormalization" in traits.operators:
        return "modnet", "free sides and instance normalisation are MODNet's"
    return None


def _u2net_by_size(traits: _Traits) -> str:
    if traits.parameter_count < _SMALL_PARAMETER_COUNT:
        return "u2netp"
    return "silueta" if traits.parameter_count < _MEDIUM_PARAMETER_COUNT else "u2net"


def _stretches_whole_tensor(graph: onnx.GraphProto) -> bool:
    """Whether a minimum and a maximum over all axes are taken."""
    constants = constants_of(graph)
    whole = set()
    for node in graph.node:
        if node.op_type in ("ReduceMin", "ReduceMax"):
            axes = [attribute for attribute in node.attribute if attribute.name == "axes"]
            given = node.input[1] if len(node.input) > 1 else ""
            covers_all = not axes and (not given or (given in constants and constants[given].size >= 4))
            if covers_all or (axes and 0 in axes[0].ints):
                whole.add(node.op_type)
    return whole == {"ReduceMin", "ReduceMax"}


def ends_in(graph: onnx.GraphProto, output: str) -> str:
    """What the output's values are: `probability`, `logit`, or `unknown`.

    Follows the output back over operators that only move values.
    """
    producers = {name: node for node in graph.node for name in node.output}
    node = producers.get(output)
    while node is not None and node.op_type in _PASSING_ON:
        node = producers.get(node.input[0])
    if node is None:
        return "unknown"
    if node.op_type in _SQUASHING:
        return "probability"
    return "logit" if node.op_type in _LINEAR else "unknown"
