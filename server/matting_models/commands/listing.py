# SPDX-License-Identifier: Apache-2.0
"""`models list`: what the repository holds, broken entries told apart from good ones; `models catalogue`: what can be
added by name. Needs no library that runs or changes networks.
"""

from dataclasses import dataclass

from matting_models.errors import EntryNotFoundError, ModelsError
from matting_models.recipes.presets import preset_of
from matting_models.recipes.recipe import Recipe
from matting_models.repository.config import EntryConfig
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.sources.catalogue import CATALOGUE


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry, and why it cannot be served, if so. `config` is None exactly if it is broken."""

    name: str
    versions: tuple[int, ...]
    config: EntryConfig | None
    problem: str = ""


def list_entries(repository: Repository) -> list[Listed]:
    """All entries of the repository, one broken never hiding the others."""
    return [_listed(repository, name) for name in repository.names()]


def _listed(repository: Repository, name: str) -> Listed:
    versions = tuple(repository.versions(name))
    try:
        config = read_config(repository.config_path(name))
    except ModelsError as exc:
        return Listed(name, versions, None, str(exc))
    if config.name not in ("", name):
        return Listed(name, versions, None, f"config.pbtxt names {config.name}; Triton wants the folder's name {name}")
    try:
        repository.model_path(name)
    except EntryNotFoundError:
        hint = "fetch it with `models add`" if not versions else "no model file in its newest version"
        return Listed(name, versions, config, f"no model file yet: {hint}")
    return Listed(name, versions, config)


def as_table(entries: list[Listed]) -> list[str]:
    """Lines for a terminal."""
    lines = [f"{'NAME':20} {'VERSIONS':10} {'INPUT':11} {'BATCH':>5} {'ENGINE':13} {'PRECISION':9} LICENCE"]
    for entry in entries:
        versions = ",".join(map(str, entry.versions)) or "-"
        if entry.config is None:
            lines.append(f"{entry.name:20} {versions:10} BROKEN: {entry.problem}")
            continue
        config = entry.config
        height, width = config.sides_px
        size = "any" if -1 in config.sides_px else f"{width}x{height}"
        licence = config.license + (" (NOT for commercial use)" if config.noncommercial else "")
        batch = str(config.max_batch_size) if config.max_batch_size else "single"
        lines.append(
            f"{entry.name:20} {versions:10} {size:11} {batch:>5} {config.engine:13} {config.precision:9} {licence}"
            + (f"  [{entry.problem}]" if entry.problem else "")
        )
    return lines


def catalogue_table() -> list[str]:
    """Lines for a terminal: what can be added by name, and what is known of each."""
    lines = [f"{'NAME':22} {'MB':>6} {'LICENCE':52} WHAT"]
    for model in CATALOGUE.values():
        preset = preset_of(model.preset)
        licence = preset.license + (" (NOT for commercial use)" if preset.noncommercial else "")
        lines.append(f"{model.name:22} {model.size_bytes / 1e6:6.0f} {licence:52} {model.about}")
        lines.append(f"{'':22} fed {_fed(model.used_recipe)}")
        lines.append(f"{'':22} sha256 {model.sha256}  {model.source}")
    return lines


def _fed(recipe: Recipe) -> str:
    """How a network gets its photo and what is made of its answer, in a few words."""
    height, width = recipe.size_px or (0, 0)
    scale = "its own maximum" if recipe.scale is None else f"{recipe.scale:g}"
    parts = [f"{width}x{height} pixels ({recipe.fit.value}) / {scale}"]
    if any(recipe.mean):
        parts.append(f"- {_numbers(recipe.mean)}")
    if set(recipe.std) != {1.0}:
        parts.append(f"/ {_numbers(recipe.std)}")
    after = [kind.value for kind in (recipe.activation, recipe.normalise) if kind.value != "none"]
    return " ".join(parts) + (f"; answers through {', '.join(after)}" if after else "")


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)
