# SPDX-License-Identifier: Apache-2.0
"""The families of matting networks and how each wants its photo, from the authors' own programs and rembg's."""

from dataclasses import dataclass

from matting_models.recipe import Activation, Normalise, Recipe

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_ONES = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Preset:
    """A family: its arithmetic, the names its exports use, and the licence of its published weights.

    `input_names` and `output_names` are what known exports call them, best first; the output of the first name
    present is taken, or the first output. `noncommercial` is the published weights' licence, not legal advice.
    """

    name: str
    title: str
    recipe: Recipe
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    license: str
    noncommercial: bool = False
    note: str = ""


_U2NET_RECIPE = Recipe(
    scale=None, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, normalise=Normalise.MIN_MAX, size_px=(320, 320)
)
_ISNET_RECIPE = Recipe(mean=_HALF, std=_ONES, normalise=Normalise.MIN_MAX, size_px=(1024, 1024))
_BIREFNET_RECIPE = Recipe(
    mean=_IMAGENET_MEAN, std=_IMAGENET_STD, activation=Activation.SIGMOID, size_px=(1024, 1024), multiple_px=32
)


def _u2net(name: str, title: str, *outputs: str) -> Preset:
    return Preset(name, title, _U2NET_RECIPE, ("input.1", "input"), (*outputs, "output"), "Apache-2.0")


PRESETS: dict[str, Preset] = {preset.name: preset for preset in (_u2net("u2net", "U^2-Net, general", "1959"),)}
