# SPDX-License-Identifier: Apache-2.0
"""Static int8 by NNCF, with the layers that hurt left in floating point until a bound holds.

Two observations decide what stays in floating point (measured on U^2-Net, see the package's report):

- A network's cheapest layers, together one in a hundred of its multiplications, cause half of the error: small maps
  deep inside, and the last layer, whose logits are stretched by the min-max that follows. Leaving them costs nothing.
- Beyond that the harm is spread. Where the bound still fails, groups of neighbouring layers are taken back one at a
  time, the one that gains most for its cost first.

NNCF: https://github.com/openvinotoolkit/nncf (post-training quantisation with fast bias correction).
"""

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import onnx

from matting_models.engines import OpenVinoRunner, Pixels
from matting_models.errors import QuantizationError
from matting_models.fetch import Say
from matting_models.graph import opset_of
from matting_models.layers import Layer, cheapest, layers_of
from matting_models.restore import restored

# Layers that are not quantised run in this precision, on every machine alike.
REST_IN_F32 = {"INFERENCE_PRECISION_HINT": "f32"}

# Below this, QuantizeLinear has no axis, and weights could only be quantised whole.
_OPSET = 17
_QUANTIZABLE_SINCE = 13
_GROUP_COUNT = 12
_PROBED_PICTURES = 3
# Beyond this share of multiplications in floating point, int8 is not worth its error.
_LARGEST_FLOAT_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Bound:
    """How far the int8 form may be from the original: mean absolute difference of alphas, 0 to 1."""

    mean: float = 0.01
    worst_photo: float = 0.03

    def holds(self, differences: Sequence[float]) -> bool:
        return float(np.mean(differences)) <= self.mean and max(differences) <= self.worst_photo


@dataclass(frozen=True, slots=True)
class Int8Model:
    """The quantised graph, the layers left in floating point, and the differences it was accepted with."""

    model: onnx.ModelProto
    float_layers: tuple[str, ...]
    float_share: float
    differences: tuple[float, ...]


def to_int8(
    model: onnx.ModelProto,
    calibration: Sequence[Pixels],
    measured: Sequence[Pixels],
    expected: Sequence[Pixels],
    *,
    sides_px: tuple[int, int],
    float_share: float,
    bound: Bound,
    say: Say,
) -> Int8Model:
    """The int8 form of an entry's graph.

    `expected` are the original's alphas of the pictures `measured`; the bound is checked on these.

    Raises:
        QuantizationError: no int8 form with enough int8 in it holds the bound.
    """
    model = _at_quantizable_opset(model)
    layers = layers_of(model, sides_px)
    float_layers = cheapest(layers, float_share)
    say(f"calibrating with {len(calibration)} pictures; {len(float_layers)} of {len(layers)} layers stay f32")
    quantised = _quantised(model, calibration, float_layers)
    attempt = _Attempt(quantised, model, measured, expected)
    differences = attempt.differences([])
    shares = {layer.name: layer.share for layer in layers}
    taken_back: list[str] = []
    candidates = _groups([layer for layer in layers if layer.name not in float_layers])
    while not bound.holds(differences):
        say(f"  differs by {np.mean(differences):.4f} on average, {max(differences):.4f} at worst: too much")
        share = sum(shares[name] for name in (*float_layers, *taken_back))
        group = attempt.best_group(taken_back, candidates, differences, shares) if candidates else None
        if group is None or share > _LARGEST_FLOAT_SHARE:
            raise QuantizationError(
                f"With {share:.0%} of the arithmetic left in f32, int8 still differs by {np.mean(differences):.4f} on "
                f"average and {max(differences):.4f} at worst (bound {bound.mean} and {bound.worst_photo}). "
                "Calibrate with more photos like those served, or raise the bound."
            )
        candidates.remove(group)
        taken_back += group
        differences = attempt.differences(taken_back)
        say(f"  {len(group)} layers from {group[0]} on taken back to f32")
    names = (*float_layers, *taken_back)
    final = restored(quantised, model, taken_back) if taken_back else quantised
    return Int8Model(final, names, sum(shares[name] for name in names), tuple(differences))


class _Attempt:
    """Measures the quantised graph with layers taken back."""

    def __init__(
        self,
        quantised: onnx.ModelProto,
        original: onnx.ModelProto,
        pictures: Sequence[Pixels],
        expected: Sequence[Pixels],
    ) -> None:
        self._quantised = quantised
        self._original = original
        self._pictures = pictures
        self._expected = expected

    def differences(self, taken_back: Sequence[str], only: Sequence[int] | None = None) -> list[float]:
        model = restored(self._quantised, self._original, taken_back) if taken_back else self._quantised
        runner = OpenVinoRunner(model.SerializeToString(), REST_IN_F32)
        chosen = range(len(self._pictures)) if only is None else only
        return [mean_difference(runner.run(self._pictures[i][None])[0], self._expected[i]) for i in chosen]

    def best_group(
        self,
        taken_back: Sequence[str],
        candidates: Sequence[list[str]],
        differences: Sequence[float],
        shares: dict[str, float],
    ) -> list[str] | None:
        """The group whose return gains most on the worst pictures for its share of the arithmetic."""
        worst = sorted(range(len(differences)), key=lambda index: -differences[index])[:_PROBED_PICTURES]
        before = float(np.mean([differences[index] for index in worst]))

        def gain(group: list[str]) -> float:
            after = float(np.mean(self.differences([*taken_back, *group], worst)))
            return (before - after) / max(sum(shares[name] for name in group), 0.002)

        gains = [gain(group) for group in candidates]
        best = int(np.argmax(gains))
        return candidates[best] if gains[best] > 0 else None


def mean_difference(one: Pixels, other: Pixels) -> float:
    """Mean absolute difference of two alphas, 0 to 1."""
    return float(np.abs(one.astype(np.int16) - other).mean() / 255)


def _groups(layers: Sequence[Layer]) -> list[list[str]]:
    """Neighbouring layers in up to a dozen groups of equal count."""
    names = np.array([layer.name for layer in layers], dtype=object)
    return [list(group) for group in np.array_split(names, min(_GROUP_COUNT, len(names))) if len(group)]


def _at_quantizable_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    if opset_of(model) >= _QUANTIZABLE_SINCE:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except RuntimeError as exc:
        raise QuantizationError(
            f"The graph has opset {opset_of(model)} and cannot be converted to {_OPSET}, which int8 needs: {exc}"
        ) from exc


def _quantised(model: onnx.ModelProto, calibration: Sequence[Pixels], float_layers: Sequence[str]) -> onnx.ModelProto:
    nncf = import_nncf()
    to_feed: Callable[[Pixels], dict[str, Pixels]] = lambda picture: {"image": picture[None]}  # noqa: E731
    ignored = nncf.IgnoredScope(names=list(float_layers), patterns=[r"before\..*", r"after\..*"], validate=False)
    try:
        quantised: onnx.ModelProto = nncf.quantize(
            model,
            nncf.Dataset(list(calibration), to_feed),
            subset_size=len(calibration),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=ignored,
        )
    except Exception as exc:
        raise QuantizationError(f"NNCF could not quantise the graph: {exc}") from exc
    return quantised


def import_nncf() -> ModuleType:
    """NNCF without its reporting.

    It would tell its use to an analytics service without asking; where the package that does so is missing it
    stays silent, so it is made to look missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how a module is barred
    nncf = importlib.import_module("nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
