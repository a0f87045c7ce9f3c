# SPDX-License-Identifier: Apache-2.0
"""`models add`: from a file or a known name to an entry of the repository that was tried before it is there."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from matting_models.commands.build import BuildRequest, Built, build, require_matting, working_sides
from matting_models.errors import RecipeError
from matting_models.graph.guess import guess, require_family
from matting_models.graph.loading import load_model
from matting_models.graph.surgery import choose_output, with_layout
from matting_models.recipes.presets import Preset, preset_of
from matting_models.recipes.recipe import Recipe
from matting_models.repository.config import EntryConfig
from matting_models.repository.entry import settle_config
from matting_models.repository.origin import Origin, write_origin
from matting_models.repository.repository import ONNX_FILE, Repository
from matting_models.repository.variants import Variant, trtexec_line, usual_batch_sizes
from matting_models.sources.catalogue import (
    CATALOGUE,
    CatalogueModel,
    Places,
    catalogue_model,
    known_by_hash,
    original_of,
)
from matting_models.sources.download import download, file_name_of, is_url
from matting_models.sources.fetch import Say, require_hash, sha256_of

DEFAULT_MAX_BATCH_SIZE = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What is asked of `models add`. Empty and None mean: as the preset, the catalogue or the graph has it.

    `recipe` replaces the preset's arithmetic; `settled` says that its activation was given by hand.
    `sides_px` is (height, width). A `config.pbtxt` that is there and describes the same interface is kept, with what
    was tuned or written into it by hand, unless `rewrite_config`.
    """

    source: str
    name: str = ""
    version: int = 1
    preset: str = ""
    recipe: Recipe | None = None
    settled: bool = False
    output_name: str = ""
    sides_px: tuple[int, int] | None = None
    layout: str = ""
    sha256: str = ""
    variant: Variant = field(default_factory=Variant)
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    license: str = ""
    noncommercial: bool | None = None
    stand_in: str = ""
    replace: bool = False
    rewrite_config: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """The entry that was made. `batches` is False where it is served as single calls."""

    name: str
    version: int
    folder: Path
    batches: bool
    config: EntryConfig


def add(request: AddRequest, repository: Repository, places: Places, say: Say) -> Added:
    """Adds a model.

    Raises:
        ModelsError: each reason is a class of its own, see `errors`.
    """
    original, catalogue = _original(request, places, say)
    name = request.name or catalogue or original.stem
    repository.require_free(name, request.version, replacing=request.replace)
    network = load_model(original)
    digest = sha256_of(original)
    known = known_by_hash(digest)
    preset = _preset(request, original, known, network, say)
    _tell_licence(preset, request, say)
    recipe = request.recipe or (known.used_recipe if known else preset.recipe if preset else Recipe())
    output_name = choose_output(network.graph, preset.output_names if preset else (), request.output_name)
    _check_layout(request, recipe, network)
    build_request = BuildRequest(
        original, recipe, output_name, request.sides_px, request.settled or known is not None, request.variant
    )
    with repository.building(name, request.version) as folder:
        built = build(build_request, network, folder / ONNX_FILE, say)
        origin = Origin(
            str(original.resolve()), digest, preset.name if preset else "", catalogue, output_name,
            built.operated.recipe,
        )  # fmt: skip
        write_origin(folder, origin)
        repository.link_twin(folder / ONNX_FILE)
        config = _config(request, name, preset, built)
        rewrite = request.rewrite_config or built.variant != request.variant
        config = settle_config(repository, config, request.version, rewrite=rewrite, say=say)
    target = repository.version_folder(name, request.version)
    say(f"{name} version {request.version} is in {target.parent}")
    if request.variant.engine == "tensorrt-plan":
        say("build its plan on the machine that will serve it:")
        sides = config.warmup_sides_px
        say("  " + trtexec_line(target, request.variant, (*sides, 3), usual_batch_sizes(max(1, config.max_batch_size))))
    return Added(name, request.version, target.parent, built.batches, config)


def _original(request: AddRequest, places: Places, say: Say) -> tuple[Path, str]:
    """The original file, and the catalogue's name for it if it was asked for by that."""
    if is_url(request.source):
        return _downloaded(request, places, say), ""
    path = Path(request.source)
    if request.source in CATALOGUE and not path.is_file():
        found = original_of(catalogue_model(request.source), places, say)
        if request.sha256:
            require_hash(found, request.sha256)
        return found, request.source
    if not path.exists():
        catalogue_model(request.source)  # raises, naming what there is
    if request.sha256:
        require_hash(path, request.sha256)
    return path, ""


def _downloaded(request: AddRequest, places: Places, say: Say) -> Path:
    """The file at an address, kept in the cache by its hash.

    Raises:
        RecipeError: no hash was given.
        DownloadError, HashMismatchError: see `download`.
    """
    if not _SHA256.fullmatch(request.sha256.lower()):
        raise RecipeError(
            "A file from elsewhere is taken only if it is the one you mean: give its hash, --sha256 with 64 digits "
            f"(found {len(request.sha256)}). Whoever publishes the file may tell it, or sha256sum of a copy does."
        )
    name = file_name_of(request.source) or "model.onnx"
    target = places.cache / "models" / request.sha256.lower() / name
    if target.is_file() and sha256_of(target) == request.sha256.lower():
        say(f"using {target}")
    else:
        download(request.source, target, say, sha256=request.sha256)
    return target


def _preset(
    request: AddRequest, original: Path, known: CatalogueModel | None, network: onnx.ModelProto, say: Say
) -> Preset | None:
    if request.preset:
        preset = preset_of(request.preset)
        if request.recipe is None and known is None:
            require_family(network.graph, preset)
        if request.recipe is None and known is not None and known.preset != preset.name:
            raise RecipeError(
                f"--preset {preset.name} was named, but by its hash this is {known.name}, of the family "
                f"{known.preset}. Leave --preset out."
            )
        return preset
    if known is not None:
        say(f"this is {known.name} ({known.about}), by its hash")
        return preset_of(known.preset)
    if request.recipe is not None:
        return None
    try:
        guessed = guess(network.graph)
    except RecipeError:
        require_matting(original, network, request.output_name)
        raise
    say(f"taken for {guessed.preset.title} (--preset {guessed.preset.name}): {guessed.reason}")
    return guessed.preset


def _tell_licence(preset: Preset | None, request: AddRequest, say: Say) -> None:
    if preset is None:
        say("licence: " + (request.license or "unknown; state it with --license"))
        return
    noncommercial = preset.noncommercial if request.noncommercial is None else request.noncommercial
    say(f"licence of the published weights: {request.license or preset.license}")
    if noncommercial:
        say("WARNING: this licence forbids commercial use. ListModels says so to every caller.")
    if preset.note:
        say(f"note: {preset.note}")


def _check_layout(request: AddRequest, recipe: Recipe, network: onnx.ModelProto) -> None:
    found = with_layout(recipe, network.graph).layout.value
    if request.layout not in ("", found):
        raise RecipeError(f"--layout {request.layout} was given, but the graph's input is {found}.")


def _config(request: AddRequest, name: str, preset: Preset | None, built: Built) -> EntryConfig:
    operated, variant = built.operated, built.variant
    noncommercial = preset.noncommercial if preset and request.noncommercial is None else bool(request.noncommercial)
    largest = request.max_batch_size if built.batches else 0
    sizes = usual_batch_sizes(largest)
    sides = working_sides(operated.sides_px, operated.recipe)
    free = operated.sides_px is None
    config = EntryConfig(
        name=name,
        sides_px=operated.sides_px or (-1, -1),
        max_batch_size=largest,
        fit=operated.recipe.fit,
        multiple_px=operated.recipe.multiple_px if free else 1,
        license=request.license or (preset.license if preset else "unknown"),
        noncommercial=noncommercial,
        engine=variant.engine,
        precision=variant.declared_precision,
        accelerator=variant.accelerator((*sides, 3), sizes),
        platform=variant.platform,
        on_gpu=variant.on_gpu,
        warmup_batch_sizes=variant.warmup_batch_sizes(largest),
        warmup_sides_px=sides,
        stand_in=request.stand_in,
        top_left=operated.recipe.top_left,
        backend_parameters=variant.backend_parameters,
    )
    return replace(config, extra_parameters={"matting_size": f"{sides[1]}x{sides[0]}"}) if free else config
