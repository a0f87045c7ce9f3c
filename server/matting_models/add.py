# SPDX-License-Identifier: Apache-2.0
"""`models add`: from a file or a known name to an entry of the repository that was tried before it is there."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from matting_models.catalogue import CATALOGUE, Places, catalogue_model, original_of
from matting_models.config import EntryConfig
from matting_models.engines import OnnxRuntimeRunner, Pixels
from matting_models.entry import settle_config
from matting_models.errors import EngineError, RecipeError, VerificationError
from matting_models.fetch import Say, require_hash, sha256_of
from matting_models.guess import guess
from matting_models.loading import load_model
from matting_models.origin import Origin, write_origin
from matting_models.pictures import synthetic
from matting_models.presets import Preset, preset_of
from matting_models.recipe import Recipe
from matting_models.reference import Reference
from matting_models.repository import ONNX_FILE, Repository
from matting_models.saving import save_model
from matting_models.surgery import Operated, choose_output, operate
from matting_models.trial import difference_steps, try_batch
from matting_models.variants import Variant, trtexec_line, usual_batch_sizes

# The mean difference to the original, in steps of 1/255, beyond which an entry is not the same network any more.
_WORST_MEAN_STEPS = 0.5
DEFAULT_MAX_BATCH_SIZE = 8
_TRIED_PICTURES = ("subject", "noise")


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
    preset = _preset(request, catalogue, network, say)
    _tell_licence(preset, request, say)
    recipe = request.recipe or (preset.recipe if preset else Recipe())
    output_name = choose_output(network.graph, preset.output_names if preset else (), request.output_name)
    settled = request.settled or catalogue != ""
    with repository.building(name, request.version) as folder:
        operated, batches = _operate(request, recipe, settled, output_name, original, folder / ONNX_FILE, network, say)
        origin = Origin(
            str(original.resolve()), sha256_of(original), preset.name if preset else "", catalogue, output_name,
            operated.recipe,
        )  # fmt: skip
        write_origin(folder, origin)
        repository.link_twin(folder / ONNX_FILE)
        config = _config(request, name, preset, operated, batches=batches)
        config = settle_config(repository, config, request.version, rewrite=request.rewrite_config, say=say)
    target = repository.version_folder(name, request.version)
    say(f"{name} version {request.version} is in {target.parent}")
    if request.variant.engine == "tensorrt-plan":
        say("build its plan on the machine that will serve it:")
        sides = config.warmup_sides_px
        say("  " + trtexec_line(target, request.variant, (*sides, 3), usual_batch_sizes(max(1, config.max_batch_size))))
    return Added(name, request.version, target.parent, batches, config)


def _original(request: AddRequest, places: Places, say: Say) -> tuple[Path, str]:
    path = Path(request.source)
    if request.source in CATALOGUE and not path.is_file():
        return original_of(catalogue_model(request.source), places, say), request.source
    if not path.exists():
        catalogue_model(request.source)  # raises, naming what there is
    if request.sha256:
        require_hash(path, request.sha256)
    return path, ""


def _preset(request: AddRequest, catalogue: str, network: onnx.ModelProto, say: Say) -> Preset | None:
    if request.preset:
        return preset_of(request.preset)
    if catalogue:
        return preset_of(CATALOGUE[catalogue].preset)
    if request.recipe is not None:
        return None
    guessed = guess(network.graph)
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


def _operate(
    request: AddRequest,
    recipe: Recipe,
    settled: bool,
    output_name: str,
    original: Path,
    target: Path,
    network: onnx.ModelProto,
    say: Say,
) -> tuple[Operated, bool]:
    """Operates, saves to `target`, tries; falls back to single calls where a batch cannot be had."""
    wanted = request.sides_px
    operated = operate(network, recipe, output_name, wanted_sides_px=wanted, settled=settled)
    if request.layout not in ("", operated.recipe.layout.value):
        raise RecipeError(
            f"--layout {request.layout} was given, but the graph's input is {operated.recipe.layout.value}."
        )
    for note in operated.notes:
        say(f"  {note}")
    pictures = _tried_pictures(operated)
    try:
        save_model(operated.model, target)
        runner = OnnxRuntimeRunner(target)
        alone = [runner.run(picture[None])[0] for picture in pictures]
        outcome = try_batch(runner, pictures[::-1], alone[::-1])
        reason = outcome.refusal or f"answers in a batch differ by up to {outcome.worst_steps}/255 from those alone"
        batches = outcome.independent
    except EngineError as exc:
        batches, reason = False, str(exc).splitlines()[0]
    if not batches:
        say(f"  WARNING: this network cannot take a batch, it is served as single calls: {reason}")
        for doubt in operated.doubts[:3]:
            say(f"    {doubt}")
        operated = operate(
            load_model(original), recipe, output_name, wanted_sides_px=wanted, batching=False, settled=settled
        )
        save_model(operated.model, target)
        runner = OnnxRuntimeRunner(target)
        alone = [runner.run(picture[None])[0] for picture in pictures]
    _compare_with_original(Reference(original, operated.recipe, output_name), pictures, alone, say)
    return operated, batches


def _tried_pictures(operated: Operated) -> list[Pixels]:
    by_name = synthetic(working_sides(operated))
    return [by_name[name] for name in _TRIED_PICTURES]


def working_sides(operated: Operated) -> tuple[int, int]:
    """(height, width) to try and warm with: the fixed ones, or the recipe's where they are free."""
    return operated.sides_px or operated.recipe.size_px or (512, 512)


def _compare_with_original(reference: Reference, pictures: list[Pixels], alphas: list[Pixels], say: Say) -> None:
    worst_mean = worst = 0.0
    for picture, alpha in zip(pictures, alphas, strict=True):
        expected, is_finite = reference.answer(picture)
        if not is_finite:
            raise VerificationError("The original network answers with NaN or infinity; it was not added.")
        worst = max(worst, difference_steps(expected, alpha))
        worst_mean = max(worst_mean, float(np.abs(expected.astype(np.int16) - alpha).mean()))
    if worst_mean > _WORST_MEAN_STEPS:
        raise VerificationError(
            f"The entry differs from the original network by {worst_mean:.2f}/255 on average (at most "
            f"{_WORST_MEAN_STEPS}/255 was expected); it was not added."
        )
    say(f"  same answers as the original: largest difference {worst:.0f}/255, on average {worst_mean:.4f}/255")


def _config(request: AddRequest, name: str, preset: Preset | None, operated: Operated, *, batches: bool) -> EntryConfig:
    noncommercial = preset.noncommercial if preset and request.noncommercial is None else bool(request.noncommercial)
    largest = request.max_batch_size if batches else 0
    sizes = usual_batch_sizes(largest)
    sides = working_sides(operated)
    free = operated.sides_px is None
    config = EntryConfig(
        name=name,
        sides_px=operated.sides_px or (-1, -1),
        max_batch_size=largest,
        fit=operated.recipe.fit,
        multiple_px=operated.recipe.multiple_px if free else 1,
        license=request.license or (preset.license if preset else "unknown"),
        noncommercial=noncommercial,
        engine=request.variant.engine,
        precision=request.variant.told_precision,
        accelerator=request.variant.accelerator((*sides, 3), sizes),
        platform=request.variant.platform,
        on_gpu=request.variant.on_gpu,
        warmup_batch_sizes=request.variant.warmup_batch_sizes(largest),
        warmup_sides_px=sides,
        stand_in=request.stand_in,
        backend_parameters=request.variant.backend_parameters,
    )
    return replace(config, extra_parameters={"matting_size": f"{sides[1]}x{sides[0]}"}) if free else config
