# SPDX-License-Identifier: Apache-2.0
"""Turns the options of `models add` into a request."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from matting_models.commands.add import DEFAULT_MAX_BATCH_SIZE, AddRequest
from matting_models.errors import RecipeError
from matting_models.recipes.presets import preset_of
from matting_models.recipes.recipe import Activation, Channels, Fit, Normalise, Recipe
from matting_models.repository.config import TOP_LEFT
from matting_models.repository.variants import Variant

# Options that say something `config.pbtxt` says: given one, the file is written anew.
_CONFIG_OPTIONS = ("engine", "precision", "max_batch_size", "license_name", "noncommercial", "stand_in")


@dataclass(frozen=True, slots=True)
class RecipeOptions:
    """The options as given, empty where not given."""

    mean: str = ""
    std: str = ""
    scale: str = ""
    layout: str = ""
    channels: str = ""
    activation: str = ""
    normalise: str = ""
    resize: str = ""
    multiple: int = 0

    @property
    def are_given(self) -> bool:
        return self != RecipeOptions()


def request_from(source: str, given: Mapping[str, Any]) -> AddRequest:
    """The request that the options, as click gives them, ask for.

    Raises:
        RecipeError: a value that is none, or an engine that does not have the precision.
    """
    options = RecipeOptions(**{field.name: given[field.name] for field in fields(RecipeOptions) if given[field.name]})
    return AddRequest(
        source,
        name=given["name"],
        version=given["version"],
        preset=given["preset"],
        recipe=recipe_from(options, given["preset"]),
        settled=bool(options.activation),
        output_name=given["output_name"],
        sides_px=sides_from(given["size"]),
        layout=options.layout,
        sha256=given["sha256"],
        variant=Variant(given["engine"] or "openvino", given["precision"] or "auto"),
        max_batch_size=given["max_batch_size"] or DEFAULT_MAX_BATCH_SIZE,
        license=given["license_name"],
        noncommercial=given["noncommercial"],
        stand_in=given["stand_in"],
        replace=given["replace"],
        rewrite_config=any(given[key] not in (None, "") for key in _CONFIG_OPTIONS),
    )


def recipe_from(options: RecipeOptions, preset_name: str) -> Recipe | None:
    """The recipe asked for: the preset's with what was given changed; None where nothing was given.

    Raises:
        RecipeError: a value that is none.
    """
    if not options.are_given:
        return None
    recipe = preset_of(preset_name).recipe if preset_name else Recipe()
    if options.mean:
        recipe = replace(recipe, mean=_three("--mean", options.mean))
    if options.std:
        std = _three("--std", options.std)
        if 0.0 in std:
            raise RecipeError("--std must not contain 0.")
        recipe = replace(recipe, std=std)
    if options.scale:
        recipe = replace(recipe, scale=_scale(options.scale))
    if options.channels:
        recipe = replace(recipe, channels=Channels(options.channels))
    if options.activation:
        recipe = replace(recipe, activation=Activation(options.activation))
    if options.normalise:
        recipe = replace(recipe, normalise=Normalise(options.normalise))
    if options.resize:
        kind, _, place = options.resize.partition("-")
        recipe = replace(recipe, fit=Fit(kind), top_left=place == TOP_LEFT)
    return replace(recipe, multiple_px=options.multiple) if options.multiple else recipe


def sides_from(text: str) -> tuple[int, int] | None:
    """(height, width) of `1024` or of `WIDTHxHEIGHT`.

    Raises:
        RecipeError: it is neither.
    """
    if not text:
        return None
    width, _, height = text.lower().partition("x")
    if not width.isdecimal() or not (height or width).isdecimal() or not 16 <= int(width) <= 8192:
        raise RecipeError(
            f"--size {text!r} is no size; expected for example 1024 or 640x480, 16 to 8192 pixels a side."
        )
    return int(height or width), int(width)


def _three(option: str, text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise RecipeError(f"{option} {text!r}: expected one number or three (red, green, blue) with commas between.")
    return values[0], values[1], values[2]


def _scale(text: str) -> float | None:
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise RecipeError(
            f"--scale {text!r}: expected `max` (each image's own maximum) or a number above 0, usually 255."
        )
    return value
