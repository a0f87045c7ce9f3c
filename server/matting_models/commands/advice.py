# SPDX-License-Identifier: Apache-2.0
"""What to do about an entry that `verify` found wanting, in commands."""

from matting_models.repository.config import EntryConfig
from matting_models.repository.origin import Origin
from matting_models.trials.verify import Verification


def advice_for(result: Verification, config: EntryConfig, origin: Origin, precision: str) -> tuple[str, ...]:
    """Sentences, the likeliest cause first; none where the entry passed. `precision` is what it ran in."""
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
