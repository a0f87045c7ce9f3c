# SPDX-License-Identifier: Apache-2.0
"""Tries what cannot be proven from the graph: that an answer depends on its own photo alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matting_models.errors import EngineError
from matting_models.trials.engines import Pixels, Runner

# In steps of 1/255: engines may choose other kernels for other batch sizes, whose rounding moves a value at most so.
TOLERANCE_STEPS = 1
# Where nearly everything is opaque or nothing is, an answer says nothing of the photo.
_SATURATED_SHARE = 0.999


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The largest difference, in steps of 1/255, between answers in a batch of `size` and alone; or the refusal."""

    size: int
    worst_steps: int
    refusal: str = ""

    @property
    def independent(self) -> bool:
        return not self.refusal and self.worst_steps <= TOLERANCE_STEPS


def difference_steps(one: Pixels, other: Pixels) -> int:
    """The largest difference of two alphas in steps of 1/255."""
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max(initial=0))


def mean_difference(one: Pixels, other: Pixels) -> float:
    """Mean absolute difference of two alphas, 0 to 1."""
    return float(np.abs(one.astype(np.int16) - other).mean() / 255)


def is_saturated(alpha: Pixels) -> bool:
    """Whether an alpha uint8 is opaque, or transparent, as good as everywhere."""
    share = max(float((alpha == 0).mean()), float((alpha == 255).mean()))
    return share > _SATURATED_SHARE


def try_batch(runner: Runner, images: Sequence[Pixels], alone: Sequence[Pixels]) -> BatchOutcome:
    """Runs `images` as one batch and compares with the answers each had `alone`."""
    size = len(images)
    try:
        together = runner.run(np.stack(images))
    except EngineError as exc:
        return BatchOutcome(size, 255, str(exc).splitlines()[0][:300])
    if together.shape != (size, *alone[0].shape):
        return BatchOutcome(size, 255, f"a batch of {size} was answered with the shape {list(together.shape)}")
    return BatchOutcome(size, max(map(difference_steps, together, alone)))


def neighbourhoods(count: int, sizes: Sequence[int]) -> list[list[int]]:
    """For each size, which of `count` pictures go into the batch: each time from another start, in turn."""
    starts = range(len(sizes))
    return [[(start + step) % count for step in range(size)] for start, size in zip(starts, sizes, strict=True)]
