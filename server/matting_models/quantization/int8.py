# SPDX-License-Identifier: Apache-2.0
"""Static int8 by NNCF, with the layers that hurt left in floating point until a bound holds.

What decides the error of U^2-Net, as measured:

- Ranges of activations. NNCF's usual ones, means over the pictures, cut the peaks of a single picture off: 10 to 25 dB
  of noise. The largest values of all pictures do not.
- A few layers. Rounding the weights of one convolution of 119 did as much harm as that of all others together: a few
  weights are large, and the many small ones are rounded as coarsely as they. That can be read off the weights, whatever
  the photos. So the layers whose weights lose most are tried in floating point, one by one, and those that gain most
  for their cost are left so, for as long as that pays.
- Range of weights. NNCF's usual way gives three large convolutions of U^2-Net half of the 8 bits, lest products add up
  to more than 16 bits on CPUs without VNNI. All bits, which cost nothing, bring the worst photo from 0.024 to 0.020;
  left out of calibration, from 0.019 to 0.032, depending on the crops of the others, to 0.017 to 0.021.
- Bias correction, which is made with all layers rounded, and is wrong once some are not. It is left out.

The first and the last layers always stay: the first has three colours and gains nothing, the last one's answers are
stretched by the min-max that follows. What stays is computed in what the engine thinks best, bf16 where the CPU has it.

NNCF: https://github.com/openvinotoolkit/nncf (post-training quantisation).
"""

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import onnx

from matting_models.errors import QuantizationError
from matting_models.graph.layers import Layer, end_layers, layers_of
from matting_models.graph.nodes import opset_of
from matting_models.graph.restore import restored, rounding_losses
from matting_models.graph.single_maps import with_cheap_single_maps
from matting_models.graph.sizes import with_constant_sizes
from matting_models.sources.fetch import Say
from matting_models.trials.engines import OpenVinoRunner, Pixels
from matting_models.trials.trial import mean_difference

IN_F32 = {"INFERENCE_PRECISION_HINT": "f32"}

# Below this, QuantizeLinear has no axis, and weights could only be quantised whole.
_OPSET = 17
_QUANTIZABLE_SINCE = 13
_PROBED_LAYERS = 12
_PROBED_PICTURES = 3
# A layer is worth floating point if that lowers the mean difference by this share: unseen photos gain by it too.
_PAYING_SHARE = 0.1
# Unseen photos differ more than those that the layers were chosen by, so the search aims at this share of the bound.
_SPARE = 0.6
# The least cost that a layer is counted with, as a share: small layers are not free, and small gains may be chance.
_LEAST_SHARE = 0.01
# Beyond this share of multiplications in floating point, int8 is not worth its error.
_LARGEST_FLOAT_SHARE = 0.3
# The same once the bound itself holds: the margin may cost little of the speed that int8 is for.
_SPARE_FLOAT_SHARE = 0.03


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
    bound: Bound,
    say: Say,
) -> Int8Model:
    """The int8 form of an entry's graph.

    `expected` are the original's alphas of the pictures `measured`; the bound is checked on these, with something to
    spare where that can be had.

    Raises:
        QuantizationError: no int8 form with enough int8 in it holds the bound.
    """
    model = with_constant_sizes(_at_quantizable_opset(model))
    layers = layers_of(model, sides_px)
    ends = end_layers(model.graph)
    if len(ends) == len(layers):
        raise QuantizationError(f"All {len(layers)} layers are first or last ones, which stay as they are.")
    say(f"calibrating with {len(calibration)} pictures; {len(ends)} of {len(layers)} layers stay as they are")
    quantised = _quantised(model, calibration, ends)
    attempt = _Attempt(quantised, model, measured, expected)
    narrow = Bound(bound.mean * _SPARE, bound.worst_photo * _SPARE)
    shares = {layer.name: layer.share for layer in layers}
    taken_back: list[str] = []
    differences = attempt.differences([])
    accepted = (list(taken_back), differences) if bound.holds(differences) else None
    if not narrow.holds(differences):
        say(f"  differs by {np.mean(differences):.4f} on average, {max(differences):.4f} at worst: searching why")
        inner = [layer for layer in layers if layer.name not in ends]
        for name in attempt.harmful(inner, differences):
            before = float(np.mean(differences))
            largest = _LARGEST_FLOAT_SHARE if accepted is None else _SPARE_FLOAT_SHARE
            if sum(shares[taken] for taken in (*taken_back, name)) > largest:
                continue
            taken_back.append(name)
            differences = attempt.differences(taken_back)
            say(f"  without {name}: {np.mean(differences):.4f} on average, {max(differences):.4f} at worst")
            if bound.holds(differences) and (accepted is None or np.mean(differences) < np.mean(accepted[1])):
                accepted = (list(taken_back), differences)
            if narrow.holds(differences) and np.mean(differences) > before * (1 - _PAYING_SHARE):
                break
    if accepted is None:
        raise QuantizationError(
            f"With {sum(shares[name] for name in taken_back):.0%} of the arithmetic left as it is, int8 still differs "
            f"by {np.mean(differences):.4f} on average and {max(differences):.4f} at worst (bound {bound.mean} and "
            f"{bound.worst_photo}). Calibrate with more photos like those served, or raise the bound."
        )
    taken_back, differences = accepted
    final = with_cheap_single_maps(restored(quantised, model, taken_back) if taken_back else quantised, model)
    names = (*ends, *taken_back)
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
        runner = OpenVinoRunner(model.SerializeToString())
        chosen = range(len(self._pictures)) if only is None else only
        return [mean_difference(runner.run(self._pictures[i][None])[0], self._expected[i]) for i in chosen]

    def harmful(self, layers: Sequence[Layer], differences: Sequence[float]) -> list[str]:
        """Names of the layers that gain by floating point, the one that gains most for its cost first."""
        worst = sorted(range(len(differences)), key=lambda index: -differences[index])[:_PROBED_PICTURES]
        before = float(np.mean([differences[index] for index in worst]))

        def gain(layer: Layer) -> float:
            return before - float(np.mean(self.differences([layer.name], worst)))

        losses = rounding_losses(self._quantised, self._original)
        lossy = sorted(layers, key=lambda layer: -losses.get(layer.name, 0.0))[:_PROBED_LAYERS]
        gains = {layer.name: gain(layer) / max(layer.share, _LEAST_SHARE) for layer in lossy}
        return [name for name, value in sorted(gains.items(), key=lambda item: -item[1]) if value > 0]


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
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=True,
                activations_range_estimator_params=_largest_values(),
                overflow_fix=nncf.OverflowFix.DISABLE,
            ),
        )
    except Exception as exc:
        raise QuantizationError(f"NNCF could not quantise the graph: {exc}") from exc
    return quantised


def _largest_values() -> object:
    """NNCF's way to take the smallest and the largest value of all pictures as the range."""
    ranges = importlib.import_module("nncf.quantization.range_estimator")
    return ranges.RangeEstimatorParametersSet.MINMAX


def import_nncf() -> ModuleType:
    """NNCF without its reporting.

    It would tell its use to an analytics service without asking; where the package that does so is missing it
    stays silent, so it is made to look missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how a module is barred
    nncf = importlib.import_module("nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
