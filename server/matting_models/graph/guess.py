# SPDX-License-Identifier: Apache-2.0
"""Guesses the family of a network from its graph, and says why; refuses to guess where a licence hangs on it.

Where a family is named, the graph must not speak against it: the wrong arithmetic around a network gives alphas that
look like poor ones of a poor network.
"""

from dataclasses import dataclass
from typing import TypeAlias

import onnx

from matting_models.errors import RecipeError
from matting_models.graph.traits import Traits, traits_of
from matting_models.recipes.presets import PRESETS, Preset

_SMALL_PARAMETER_COUNT = 3_000_000
_MEDIUM_PARAMETER_COUNT = 20_000_000


# Families whose networks cannot be told apart, or want their photo alike: naming one of them is no contradiction.
_ALIKE = (
    {"u2net", "u2netp", "u2net-human", "silueta"},
    {"isnet", "isnet-anime", "rmbg-1.4"},
    {"birefnet", "birefnet-lite", "birefnet-hr", "birefnet-matting", "rmbg-2.0"},
    {"modnet", "pp-matting"},
)
_PADDLE_INPUT = "img"
_TEXT_DETECTOR_INPUT = "x"


@dataclass(frozen=True, slots=True)
class Guess:
    """A preset and the reason for it. `is_certain` says that the reason holds for no other family."""

    preset: Preset
    reason: str
    is_certain: bool = True


def guess(graph: onnx.GraphProto) -> Guess:
    """The family the network most likely is of.

    Raises:
        RecipeError: none fits, or families with different licences fit equally well.
    """
    traits = traits_of(graph)
    found = _found(traits)
    if found is not None:
        return found
    if traits.looks_like_isnet:
        raise RecipeError(
            "This looks like IS-Net (1024x1024 pixels, convolutions only), but RMBG-1.4 looks the same and its "
            "licence forbids commercial use. Say which it is: --preset isnet or --preset rmbg-1.4."
        )
    sides = "x".join(str(side) for side in reversed(traits.sides))
    raise RecipeError(
        f"What this network is could not be guessed (input {traits.input_name} {sides}, outputs "
        f"{', '.join(traits.outputs[:8])}). Name its family with --preset ({', '.join(sorted(PRESETS))}), or say "
        "how it wants its photo with --mean, --std, --scale, --activation, --normalise and --resize."
    )


def require_family(graph: onnx.GraphProto, preset: Preset) -> None:
    """Checks that nothing in the graph speaks against the family named for it.

    Raises:
        RecipeError: it is plainly of another family, or no matting network at all.
    """
    traits = traits_of(graph)
    way_out = "If it is that all the same, say how it wants its photo by hand, as with --mean, --std and --normalise."
    if traits.finds_text:
        raise RecipeError(
            f"--preset {preset.name} was named ({preset.title}), but this ends in two transposed convolutions "
            f"and a sigmoid, as text detectors do (PP-OCR, DBNet), and would find letters. {way_out}"
        )
    if preset.name == "pp-matting" and traits.input_name == _TEXT_DETECTOR_INPUT:
        raise RecipeError(
            f"--preset {preset.name} was named ({preset.title}), but this one's input is called "
            f"{traits.input_name}, as PP-OCR's networks for text have it; Paddle's matting exports call it "
            f"{_PADDLE_INPUT}. {way_out}"
        )
    found = _found(traits)
    if found is None or not found.is_certain or found.preset.name == preset.name:
        return
    if any({found.preset.name, preset.name} <= family for family in _ALIKE):
        return
    raise RecipeError(
        f"--preset {preset.name} was named ({preset.title}), but this is {found.preset.title}: {found.reason}. "
        f"Use --preset {found.preset.name}, or leave --preset out. {way_out}"
    )


def _found(traits: Traits) -> Guess | None:
    if traits.finds_text:
        return None
    found = _by_names(traits) or _by_structure(traits)
    return None if found is None else Guess(PRESETS[found[0]], found[1], found[2])


# A preset's name, the reason for it, and whether that holds for no other family.
_Found: TypeAlias = tuple[str, str, bool]


def _by_names(traits: Traits) -> _Found | None:
    for name in ("withoutbg", "rmbg-2.0"):
        preset = PRESETS[name]
        if traits.input_name == preset.input_names[0] and preset.output_names[0] in traits.outputs:
            return name, f"its input is {traits.input_name} and its output {preset.output_names[0]}", True
    if traits.input_name == _PADDLE_INPUT and "alpha" in traits.outputs:
        return "pp-matting", "its input is img and its output alpha, as in Paddle's matting exports", True
    if "1959" in traits.outputs:
        return _u2net_by_size(traits), "its first output is 1959, as in rembg's U^2-Net files", True
    if traits.is_transformer and {"input_image", "output_image"} <= {traits.input_name, *traits.outputs}:
        name = "birefnet-hr" if 2048 in traits.sides else "birefnet"
        return name, "input_image, output_image and attention are those of BiRefNet's exports", True
    return None


def _by_structure(traits: Traits) -> _Found | None:
    if traits.stretches_whole_tensor:
        return "inspyrenet", "it stretches its output to 0..1 over the whole tensor, as InSPyReNet does", True
    if traits.is_transformer:
        return None
    if traits.mixes_six_maps:
        return _u2net_by_size(traits), "a 1x1 convolution mixes six side outputs, as in U^2-Net", True
    if traits.sides == (320, 320) and len(traits.outputs) in (1, 7):
        reason = f"320x320 pixels, {len(traits.outputs)} outputs and convolutions only"
        return _u2net_by_size(traits), reason, len(traits.outputs) == 7
    if traits.sides == (1024, 1024) and len(traits.outputs) in (6, 12):
        return "isnet", f"1024x1024 pixels and {len(traits.outputs)} outputs are those of IS-Net", True
    if traits.has_free_sides and "InstanceNormalization" in traits.operators:
        return "modnet", "free sides and instance normalisation are MODNet's", True
    return None


def _u2net_by_size(traits: Traits) -> str:
    if traits.parameter_count < _SMALL_PARAMETER_COUNT:
        return "u2netp"
    return "silueta" if traits.parameter_count < _MEDIUM_PARAMETER_COUNT else "u2net"
