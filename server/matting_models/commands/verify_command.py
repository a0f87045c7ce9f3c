# SPDX-License-Identifier: Apache-2.0
"""`models verify`: finds the entry's original, runs both, writes the contact sheet."""

from dataclasses import dataclass, replace
from pathlib import Path

from matting_models.errors import EntryNotFoundError
from matting_models.repository.config import EntryConfig
from matting_models.repository.config_reader import read_config
from matting_models.repository.origin import Origin, read_origin
from matting_models.repository.repository import Repository
from matting_models.repository.variants import openvino_properties
from matting_models.sources.catalogue import CATALOGUE, Places, original_of
from matting_models.sources.fetch import Say, require_hash
from matting_models.sources.samples import ensure_samples
from matting_models.trials.engines import OnnxRuntimeRunner, OpenVinoRunner, Runner
from matting_models.trials.pictures import at_size, open_photo, photo_paths, synthetic
from matting_models.trials.reference import Reference
from matting_models.trials.report import write_contact_sheet
from matting_models.trials.verify import EXACT, REDUCED, Bounds, Verification, verify_entry

_WITHOUT_CONTENT = ("noise", "dark noise", "dot", "black", "grey", "white")


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What is asked of `models verify`. None and empty: the newest version, the sample photos, as the entry says."""

    name: str
    version: int | None = None
    photos: tuple[Path, ...] = ()
    original: Path | None = None
    engine: str | None = None
    report: Path | None = None


def verify(request: VerifyRequest, repository: Repository, cache: Path, say: Say) -> tuple[Verification, Path]:
    """Verifies an entry and returns what was found and where the contact sheet is.

    Raises:
        EntryNotFoundError: the entry, or its original, is not there.
        HashMismatchError: the original is another file now.
        EngineError: the engine refuses the entry.
    """
    path = repository.model_path(request.name, request.version)
    config = read_config(repository.config_path(request.name))
    original, origin = original_file(
        repository, request.name, cache, say, version=request.version, moved_to=request.original
    )
    paths = photo_paths(request.photos) if request.photos else ensure_samples(cache, say)
    sides = config.working_sides_px
    images = {photo.name: at_size(open_photo(photo), sides) for photo in paths}
    made_up = synthetic(sides)
    without_content = {name: made_up.pop(name) for name in _WITHOUT_CONTENT}
    runner = _runner(request.engine or config.engine, path, config)
    bounds = _bounds(config, runner)
    say(f"comparing {request.name} on {runner.name} with {original.name}: {len(images)} photos and 7 pictures more")
    result = verify_entry(
        request.name,
        runner,
        Reference(original, origin.recipe, origin.output_name),
        {**images, **made_up},
        without_content,
        bounds=bounds,
        batch_sizes=range(1, 9) if config.max_batch_size else (1,),
    )
    result = replace(result, advice=advice_for(result, config, origin, runner.precision))
    page = request.report or cache / "reports" / f"{request.name}-verify.html"
    write_contact_sheet(page, result)
    return result, page


def original_file(
    repository: Repository,
    name: str,
    cache: Path,
    say: Say,
    *,
    version: int | None = None,
    moved_to: Path | None = None,
) -> tuple[Path, Origin]:
    """The file an entry was made of, checked by its hash, and how it was used.

    Raises:
        EntryNotFoundError: it, or the entry, is gone.
        HashMismatchError: it is another file now.
    """
    origin = read_origin(repository.model_path(name, version).parent)
    if moved_to is None and origin.catalogue in CATALOGUE:
        return original_of(CATALOGUE[origin.catalogue], Places.usual(cache), say), origin
    original = moved_to or Path(origin.original)
    if not original.is_file():
        raise EntryNotFoundError(f"{original}, which {name} was made of, is gone. Say where it is: --original.")
    require_hash(original, origin.sha256)
    return original, origin


def advice_for(result: Verification, config: EntryConfig, origin: Origin, precision: str) -> tuple[str, ...]:
    """What to do about an entry that was found wanting, in commands: the likeliest cause first; none where it passed.

    `precision` is what it ran in.
    """
    if result.passed:
        return ()
    source = origin.catalogue or origin.original
    again = f"matting-gateway models add {source} --name {config.name}"
    advice = []
    if any("is the recipe right" in failure for failure in result.failures):
        advice.append(f"The family may be another: {again} --replace --preset FAMILY.")
    if config.precision == "int8":
        advice.append(
            f"Quantise it again with photos like yours (matting-gateway models quantize {origin.derived_from} "
            f"--photos FOLDER --to {config.name} --replace), or serve {origin.derived_from}."
        )
    elif precision != "f32":
        advice.append(
            f"It was computed in {precision}, which not every network bears; f32 is exact and slower: "
            f"{again} --replace --precision f32."
        )
    elif config.engine == "openvino":
        advice.append(f"Another engine may do what this one does not: {again} --replace --engine onnxruntime.")
    if any(not outcome.independent for outcome in result.batches):
        advice.append(f"Alone, photos cannot disturb one another: {again} --replace --max-batch-size 1.")
    return tuple(advice) or (f"Make it anew from its original: {again} --replace.",)


def _runner(engine: str, path: Path, config: EntryConfig) -> Runner:
    if engine != "openvino":
        return OnnxRuntimeRunner(path)
    asked = config.accelerator is not None and config.accelerator.name == "openvino"
    return OpenVinoRunner(path, openvino_properties(config.accelerator if asked else None))


def _bounds(config: EntryConfig, runner: Runner) -> Bounds:
    return EXACT if config.precision != "int8" and runner.precision == "f32" else REDUCED
