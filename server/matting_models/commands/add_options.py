# SPDX-License-Identifier: Apache-2.0
"""Turns the options of `models add` into a request."""

from collections.abc import Mapping
from typing import Any

from matting_models.commands.add import DEFAULT_MAX_BATCH_SIZE, AddRequest
from matting_models.commands.options import RecipeOptions, recipe_from, sides_from
from matting_models.repository.variants import Variant

_RECIPE_OPTIONS = ("mean", "std", "scale", "layout", "channels", "activation", "normalise", "resize", "multiple")
# Options that say something `config.pbtxt` says: given one, the file is written anew.
_CONFIG_OPTIONS = ("engine", "precision", "max_batch_size", "license_name", "noncommercial", "stand_in")


def request_from(source: str, given: Mapping[str, Any]) -> AddRequest:
    """The request that the options, as click gives them, ask for.

    Raises:
        RecipeError: a value that is none, or an engine that does not have the precision.
    """
    options = RecipeOptions(**{key: given[key] for key in _RECIPE_OPTIONS if given[key]})
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
