# SPDX-License-Identifier: Apache-2.0
"""What an entry was made of, kept as `origin.json` beside its model file for `verify`, `quantize` and `list`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from matting_models.errors import EntryNotFoundError
from matting_models.recipes.recipe import Activation, Channels, Fit, Layout, Normalise, Recipe

ORIGIN_FILE = "origin.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """The original file, its hash, and how it is used.

    `catalogue` names the model in the catalogue it was fetched by, or is empty. `derived_from` names the entry an
    int8 entry was quantised from, `method` by which version of the method. `bound_mean` is how far, on average, it may
    differ from the original (0 to 1).
    """

    original: str
    sha256: str
    preset: str
    catalogue: str
    output_name: str
    recipe: Recipe
    derived_from: str = ""
    bound_mean: float = 0.0
    method: int = 0


def write_origin(folder: Path, origin: Origin) -> None:
    """Writes `origin.json` into a version's folder."""
    text = json.dumps(asdict(origin), indent=2, default=lambda value: value.value)
    (folder / ORIGIN_FILE).write_text(text + "\n", encoding="utf-8")


def read_origin(folder: Path) -> Origin:
    """Reads `origin.json` of a version's folder.

    Raises:
        EntryNotFoundError: there is none, or it is none of ours.
    """
    path = folder / ORIGIN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recipe = content.pop("recipe")
        return Origin(**content, recipe=_recipe_of(recipe))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise EntryNotFoundError(
            f"{path} is missing or unreadable, so what this entry was made of is not known. Add the model again."
        ) from exc


def _recipe_of(content: dict[str, object]) -> Recipe:
    kinds = {
        "layout": Layout, "channels": Channels, "activation": Activation, "normalise": Normalise, "fit": Fit,
    }  # fmt: skip
    values: dict[str, object] = {key: kinds[key](value) if key in kinds else value for key, value in content.items()}
    for key in ("mean", "std", "size_px"):
        value = values[key]
        values[key] = tuple(value) if isinstance(value, list) else None
    return Recipe(**values)  # type: ignore[arg-type]  # the keys are checked by the constructor, which raises TypeError
