# SPDX-License-Identifier: Apache-2.0
"""Makes the model file of an entry and tries it: against the original, in batches, and on the engine it is for."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from matting_models.errors import EngineError, RecipeError, VerificationError
from matting_models.graph.answer import Answer, require_alpha
from matting_models.graph.loading import load_model
from matting_models.graph.saving import save_model
from matting_models.graph.surgery import Operated, choose_output, operate, sides_of, with_layout
from matting_models.recipes.recipe import Recipe
from matting_models.repository.variants import Variant, openvino_properties
from matting_models.sources.fetch import Say
from matting_models.trials.engines import OnnxRuntimeRunner, OpenVinoRunner, Pixels
from matting_models.trials.pictures import synthetic
from matting_models.trials.reference import CHAOS_FACTOR, Reference
from matting_models.trials.trial import difference_steps, is_saturated, mean_difference, try_batch

# The mean difference to the original, in steps of 1/255, beyond which an entry is not the same network any more.
_WORST_MEAN_STEPS = 0.5
# The same for an engine in the precision that it chooses, on the picture that shows a subject.
_WORST_ENGINE_STEPS = 25.0
_TRIED_PICTURES = ("subject", "noise")
_USUAL_SIDES_PX = (512, 512)


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is to be built. `sides_px` is (height, width) asked for by name; `settled` see `surgery.operate`."""

    original: Path
    recipe: Recipe
    output_name: str
    sides_px: tuple[int, int] | None
    settled: bool
    variant: Variant


@dataclass(frozen=True, slots=True)
class Built:
    """What was built. `batches` is False where it is served as single calls; `variant` is what can run it."""

    operated: Operated
    batches: bool
    variant: Variant


def build(request: BuildRequest, network: onnx.ModelProto, target: Path, say: Say) -> Built:
    """Operates on `network`, which is used up, saves to `target` and tries it.

    Falls back to single calls where a batch cannot be had, and to onnxruntime where OpenVINO refuses the file.

    Raises:
        InterfaceError: the output is no alpha.
        RecipeError: the size asked for does not fit the network.
        EngineError: no engine runs it, or not in the precision asked for.
        VerificationError: it answers otherwise than the original.
    """
    recipe = with_layout(request.recipe, network.graph)
    sides = sides_of(recipe, network.graph, request.sides_px)
    reference = Reference(request.original, recipe, request.output_name)
    made_up = synthetic(working_sides(sides, recipe))
    pictures = [made_up[name] for name in _TRIED_PICTURES]
    answer = _answer_of(reference, request.output_name, pictures[0], is_free=sides is None)
    operated = _operate(request, network, answer, batching=True)
    for note in operated.notes:
        say(f"  {note}")
    alone, refusal = _alone_and_in_a_batch(operated.model, target, pictures)
    if refusal:
        say(f"  WARNING: this network cannot take a batch, it is served as single calls: {refusal}")
        for doubt in operated.doubts[:3]:
            say(f"    {doubt}")
        operated = _operate(request, load_model(request.original), answer, batching=False)
        save_model(operated.model, target)
        runner = OnnxRuntimeRunner(target)
        alone = [runner.run(picture[None])[0] for picture in pictures]
    _compare_with_original(reference.with_recipe(operated.recipe), pictures, alone, say)
    variant = _runnable(request.variant, target, pictures, alone, batches=not refusal, say=say)
    return Built(operated, not refusal, variant)


def require_matting(original: Path, network: onnx.ModelProto, output_name: str) -> None:
    """Checks that a network of unknown family answers a photo with an alpha, whatever that shows.

    Raises:
        InterfaceError: it answers something else; the message tells what that looks like.
    """
    recipe = with_layout(Recipe(size_px=_USUAL_SIDES_PX), network.graph)
    sides = working_sides(sides_of(recipe, network.graph, None), recipe)
    name = choose_output(network.graph, (), output_name)
    with contextlib.suppress(EngineError):
        require_alpha(name, Reference(original, recipe, name).raw_answer(synthetic(sides)["subject"]).shape, sides)


def working_sides(sides_px: tuple[int, int] | None, recipe: Recipe) -> tuple[int, int]:
    """(height, width) to try and warm with: the fixed ones, or the recipe's where they are free."""
    return sides_px or recipe.size_px or _USUAL_SIDES_PX


def _answer_of(reference: Reference, output_name: str, picture: Pixels, *, is_free: bool) -> Answer:
    """What the network answers; where its sides are free, to a picture that is no square, which tells most."""
    if is_free:
        picture = picture[:, : max(picture.shape[1] * 3 // 4 // 32, 1) * 32]
    return require_alpha(output_name, reference.raw_answer(picture).shape, picture.shape[:2])


def _operate(request: BuildRequest, network: onnx.ModelProto, answer: Answer, *, batching: bool) -> Operated:
    return operate(
        network,
        request.recipe,
        request.output_name,
        answer,
        wanted_sides_px=request.sides_px,
        batching=batching,
        settled=request.settled,
    )


def _alone_and_in_a_batch(model: onnx.ModelProto, path: Path, pictures: list[Pixels]) -> tuple[list[Pixels], str]:
    """Saves the model; the answers to single pictures, and why a batch cannot be had, if so."""
    try:
        save_model(model, path)
        runner = OnnxRuntimeRunner(path)
        alone = [runner.run(picture[None])[0] for picture in pictures]
    except EngineError as exc:
        return [], str(exc).splitlines()[0]
    outcome = try_batch(runner, pictures[::-1], alone[::-1])
    if outcome.independent:
        return alone, ""
    return alone, outcome.refusal or f"answers in a batch differ by up to {outcome.worst_steps}/255 from those alone"


def _compare_with_original(reference: Reference, pictures: list[Pixels], alphas: list[Pixels], say: Say) -> None:
    worst_mean = worst = 0.0
    is_chaotic = False
    for picture, alpha in zip(pictures, alphas, strict=True):
        expected, is_finite = reference.answer(picture)
        if not is_finite:
            raise VerificationError("The original network answers with NaN or infinity; it was not added.")
        mean = mean_difference(expected, alpha) * 255
        if mean > _WORST_MEAN_STEPS:
            _require_within_jitter(reference, picture, mean, say)
            is_chaotic = True
        worst, worst_mean = max(worst, difference_steps(expected, alpha)), max(worst_mean, mean)
    if not is_chaotic:
        say(f"  same answers as the original: largest difference {worst:.0f}/255, on average {worst_mean:.4f}/255")
    if all(map(is_saturated, alphas)):
        say(
            "  WARNING: it finds nothing in any of the test pictures, or everything. Networks for people only do so; "
            "look at what `models verify --photos` shows of photos of yours."
        )


def _require_within_jitter(reference: Reference, picture: Pixels, mean_steps: float, say: Say) -> None:
    jitter_steps = reference.jitter(picture) * 255
    if mean_steps > CHAOS_FACTOR * jitter_steps:
        raise VerificationError(
            f"The entry differs from the original network by {mean_steps:.2f}/255 on average (at most "
            f"{_WORST_MEAN_STEPS}/255 was expected; the original's own answer moves by {jitter_steps:.2f}/255 when one "
            "pixel changes by one level); it was not added."
        )
    say(
        f"  WARNING: this network is chaotic: its own answer moves by {jitter_steps:.1f}/255 on average when one pixel "
        f"of a test picture changes by one level, and the entry's differs by {mean_steps:.1f}/255 from it. Networks "
        "quantised with ranges found anew for each picture are like that; one quantised statically, or not, is better."
    )


def _runnable(
    variant: Variant, path: Path, pictures: list[Pixels], alone: list[Pixels], *, batches: bool, say: Say
) -> Variant:
    """The engine and precision that run the file: those asked for if they do, else onnxruntime."""
    if variant.on_gpu:
        say(f"  not tried on {variant.engine}, which takes a GPU: only onnxruntime on the CPU was")
        return variant
    if variant.engine != "openvino":
        return variant
    try:
        refusal = _refusal_of_openvino(variant, path, pictures, alone, batches=batches)
    except EngineError as exc:
        refusal = " ".join(str(exc).split())[:300]
    if not refusal:
        return variant
    if variant.precision not in ("auto", "f32"):
        raise RecipeError(
            f"OpenVINO does not run this network in {variant.precision}: {refusal}. Leave --precision out, and "
            "onnxruntime will run it in f32."
        )
    say(f"  WARNING: OpenVINO does not run this network; the entry is for onnxruntime, in f32: {refusal}")
    return Variant("onnxruntime", variant.precision)


def _refusal_of_openvino(
    variant: Variant, path: Path, pictures: list[Pixels], alone: list[Pixels], *, batches: bool
) -> str:
    runner = OpenVinoRunner(path, openvino_properties(variant.accelerator((*pictures[0].shape,), (1,))))
    found = [runner.run(picture[None])[0] for picture in pictures]
    if batches:
        runner.run(np.stack(pictures))
    steps = mean_difference(alone[0], found[0]) * 255
    return f"its answers differ by {steps:.0f}/255 on average" if steps > _WORST_ENGINE_STEPS else ""
