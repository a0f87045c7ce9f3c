# SPDX-License-Identifier: Apache-2.0
"""The original network with straightforward pre- and post-processing in numpy: what an entry is compared with.

Written as the authors' programs are, one image at a time in double precision, and sharing nothing with the graph
that `wrap` builds.
"""

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from matting_models.errors import EngineError
from matting_models.recipes.recipe import Activation, Channels, Layout, Normalise, Recipe
from matting_models.trials.engines import Pixels, ort_errors, ort_session
from matting_models.trials.trial import mean_difference

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


# Engines round differently, by less than one level of one pixel. Where a change of one level moves the original's own
# answer, an entry may differ from it by about as much; two such answers differ by at most twice that.
CHAOS_FACTOR = 2.0
_JITTERED_PIXELS = 4


class Reference:
    """The original file and its recipe."""

    def __init__(self, path: Path, recipe: Recipe, output_name: str) -> None:
        self._session = ort_session(path)
        self._recipe = recipe
        self._output_name = output_name
        self._input = self._session.get_inputs()[0]

    def with_recipe(self, recipe: Recipe) -> "Reference":
        """The same file, loaded once, with another recipe."""
        other = copy.copy(self)
        other._recipe = recipe
        return other

    def raw_answer(self, image: Pixels) -> npt.NDArray[np.floating]:
        """What the network itself answers to a photo uint8 [H, W, 3].

        Raises:
            EngineError: onnxruntime cannot run it on a photo of that size.
        """
        fed = network_input(image, self._recipe).astype(_TYPES[self._input.type])
        try:
            (answered,) = self._session.run([self._output_name], {self._input.name: fed})
        except ort_errors() as exc:
            height, width = image.shape[:2]
            reason = str(exc).splitlines()[0]
            raise EngineError(f"The network cannot be run on a photo of {width}x{height} pixels: {reason}") from exc
        return np.asarray(answered)

    def answer(self, image: Pixels) -> tuple[Pixels, bool]:
        """The alpha uint8 [H, W] of a photo uint8 [H, W, 3] of the network's size, and whether all was finite."""
        raw = self.raw_answer(image)
        is_finite = bool(np.isfinite(raw).all())
        return alpha_of(np.nan_to_num(raw), image.shape[:2], self._recipe), is_finite

    def jitter(self, image: Pixels) -> float:
        """How far the network's own alpha moves when one pixel changes by one level: on average, 0 to 1.

        The most of a few such changes. It is next to nothing but for chaotic networks, such as some that were quantised
        with ranges found anew for each picture.
        """
        settled, _ = self.answer(image)
        rng = np.random.default_rng(0)
        moved = 0.0
        for _ in range(_JITTERED_PIXELS):
            changed = image.copy()
            row, column = rng.integers(0, image.shape[0]), rng.integers(0, image.shape[1])
            changed[row, column] = np.where(image[row, column] > 127, image[row, column] - 1, image[row, column] + 1)
            alpha, _ = self.answer(changed)
            moved = max(moved, mean_difference(alpha, settled))
        return moved


def network_input(image: Pixels, recipe: Recipe) -> npt.NDArray[np.float64]:
    """What the network gets for a photo: float64, with a batch axis of 1."""
    values = image.astype(np.float64)
    if recipe.channels is Channels.BGR:
        values = values[:, :, ::-1]
    divisor = max(float(image.max()), 1e-6) if recipe.scale is None else recipe.scale
    values = (values / divisor - np.array(recipe.mean)) / np.array(recipe.std)
    if recipe.layout is Layout.NCHW:
        values = values.transpose(2, 0, 1)
    return np.asarray(values[None], np.float64)


def alpha_of(raw: npt.NDArray[np.floating], sides: tuple[int, ...], recipe: Recipe) -> Pixels:
    """The alpha uint8 of what the network answered."""
    values = raw.astype(np.float32).reshape([size for size in raw.shape if size != 1][-2:])
    if recipe.activation is Activation.SIGMOID:
        values = 1 / (1 + np.exp(-values))
    if recipe.normalise is Normalise.MIN_MAX:
        span = values.max() - values.min()
        values = (values - values.min()) / max(span, np.float32(1e-6))
    if values.shape != tuple(sides):
        picture = Image.fromarray(values, mode=None).resize((sides[1], sides[0]), Image.Resampling.BILINEAR)
        values = np.asarray(picture)
    return (values.clip(0, 1) * np.float32(255)).astype(np.uint8)
