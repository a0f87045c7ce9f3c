# SPDX-License-Identifier: Apache-2.0
"""`models verify`: an entry against the original file, alone and in batches, on photos and on hostile pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from matting_models.trials.engines import Pixels, Runner
from matting_models.trials.reference import CHAOS_FACTOR, Reference
from matting_models.trials.trial import (
    BatchOutcome,
    difference_steps,
    is_saturated,
    mean_difference,
    neighbourhoods,
    try_batch,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far an entry may be from the original: in steps of 1/255 at most anywhere, and on average (0 to 1).

    `of_pictures_without_content` says whether constant pictures and noise count: a min-max stretches whatever the
    network answers them to the whole range, rounding errors included.
    """

    worst_steps: int = 1
    mean: float = 0.002
    of_pictures_without_content: bool = True


EXACT = Bounds()
# Where the engine computes in 16 bits or the entry is quantised, single pixels of a soft edge may differ much.
REDUCED = Bounds(worst_steps=255, mean=0.03, of_pictures_without_content=False)


@dataclass(frozen=True, slots=True)
class PictureResult:
    """One picture: how the entry's alpha differs from the original's.

    `failures` are in words. `counts` says whether the bounds are for it. `jitter` is how far the original's own answer
    moves when one pixel changes by one level (on average, 0 to 1), measured only where the bounds were broken and
    deciding there. The arrays are uint8, [H, W, 3] and [H, W].
    """

    name: str
    image: Pixels = field(repr=False)
    expected: Pixels = field(repr=False)
    found: Pixels = field(repr=False)
    failures: tuple[str, ...]
    counts: bool = True
    jitter: float = 0.0

    @property
    def mean(self) -> float:
        """Mean absolute difference, 0 to 1."""
        return mean_difference(self.expected, self.found)

    @property
    def worst_steps(self) -> int:
        return difference_steps(self.expected, self.found)


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. `notes` and `advice` (what to do about the failures) are in words."""

    entry: str
    engine: str
    bounds: Bounds
    pictures: tuple[PictureResult, ...]
    batches: tuple[BatchOutcome, ...]
    failures: tuple[str, ...]
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def mean(self) -> float:
        """Mean difference over the pictures that count."""
        return float(np.mean([picture.mean for picture in self.pictures if picture.counts]))


def verify_entry(
    entry: str,
    runner: Runner,
    reference: Reference,
    images: dict[str, Pixels],
    without_content: dict[str, Pixels],
    *,
    bounds: Bounds = EXACT,
    batch_sizes: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8),
) -> Verification:
    """Compares an entry with the original.

    `images` are photos, which the original answers meaningfully; those `without_content`, constant or noise, may
    well be answered with all zeros. Batches are filled with all of them in turn, so that every photo gets hostile
    neighbours.
    """
    pictures = []
    for name, image in {**images, **without_content}.items():
        pictures.append(_compared(name, image, runner, reference, bounds, empty=name in without_content))
    everything = [picture.image for picture in pictures]
    alone = [picture.found for picture in pictures]
    batches = tuple(
        try_batch(runner, [everything[index] for index in chosen], [alone[index] for index in chosen])
        for chosen in neighbourhoods(len(everything), batch_sizes)
    )
    failures = [f"{picture.name}: {failure}" for picture in pictures for failure in picture.failures]
    for outcome in batches:
        if not outcome.independent:
            what = outcome.refusal or f"answers differ by up to {outcome.worst_steps}/255 from those alone"
            failures.append(f"batch of {outcome.size}: {what}")
    if all(is_saturated(picture.expected) for picture in pictures):
        failures.append("the original answers every picture all transparent or all opaque: is the recipe right?")
    notes = _chaos_notes(pictures)
    return Verification(entry, runner.name, bounds, tuple(pictures), batches, tuple(failures), notes)


def _compared(
    name: str, image: Pixels, runner: Runner, reference: Reference, bounds: Bounds, *, empty: bool
) -> PictureResult:
    found = runner.run(image[None])[0]
    expected, is_finite = reference.answer(image)
    counts = bounds.of_pictures_without_content or not empty
    failures = _failures(expected, found, bounds, empty=empty)
    result = PictureResult(name, image, expected, found, failures, counts)
    if not is_finite:
        return replace(result, failures=(*failures, "the original network itself answers with NaN or infinity"))
    if failures and found.shape == expected.shape and not (is_saturated(found) and not is_saturated(expected)):
        jitter = reference.jitter(image)
        if result.mean <= CHAOS_FACTOR * jitter:
            return replace(result, failures=(), jitter=jitter)
    return result


def _chaos_notes(pictures: Sequence[PictureResult]) -> tuple[str, ...]:
    chaotic = [picture for picture in pictures if picture.jitter]
    if not chaotic:
        return ()
    worst = max(chaotic, key=lambda picture: picture.jitter)
    note = (
        f"the original is chaotic: its own answer to {worst.name} moves by {worst.jitter * 255:.1f}/255 on average "
        f"when one pixel changes by one level. {len(chaotic)} picture(s) beyond the bounds are within "
        f"{CHAOS_FACTOR:g} times that and count as equal."
    )
    return (note,)


def _failures(expected: Pixels, found: Pixels, bounds: Bounds, *, empty: bool) -> tuple[str, ...]:
    if found.shape != expected.shape:
        return (f"the answer has the shape {list(found.shape)}, the original's {list(expected.shape)}",)
    if empty and not bounds.of_pictures_without_content:
        return ()
    failures = []
    if (steps := difference_steps(expected, found)) > bounds.worst_steps:
        failures.append(f"differs by up to {steps}/255 (bound {bounds.worst_steps}/255)")
    if (mean := mean_difference(expected, found)) > bounds.mean:
        failures.append(f"differs by {mean:.4f} on average (bound {bounds.mean})")
    if not empty and not is_saturated(expected) and is_saturated(found):
        # A NaN in the network shows as this too: converted to bytes it is 0 or 255 everywhere.
        failures.append("is all transparent or all opaque (or not a number), the original's is not")
    return tuple(failures)
