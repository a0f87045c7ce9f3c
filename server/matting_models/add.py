# SPDX-License-Identifier: Apache-2.0
"""`models add`: from a file or a known name to a verified entry of the repository."""

import os
from dataclasses import dataclass
from pathlib import Path

import onnx

from matting_models.catalogue import Places, catalogue_model, original_of
from matting_models.config import Accelerator, EntryConfig, render
from matting_models.fetch import Say, replacing
from matting_models.loading import load_model
from matting_models.presets import PRESETS
from matting_models.repository import ONNX_FILE, Repository
from matting_models.surgery import operate


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What is asked of `models add`."""

    source: str
    name: str = ""
    version: int = 1
    precision: str = "auto"
    replace: bool = False
    max_batch_size: int | None = None


def add(request: AddRequest, repository: Repository, places: Places, say: Say) -> Path:
    """Adds a model and returns the entry's folder."""
    known = catalogue_model(request.source)
    name = request.name or known.name
    preset = PRESETS[known.preset]
    target = repository.version_folder(name, request.version) / ONNX_FILE
    if not request.replace:
        repository.require_free(name, request.version)
    original = original_of(known, places, say)
    operated = operate(load_model(original), preset, preset.recipe)
    onnx.checker.check_model(operated.model)
    with replacing(target) as beside:
        onnx.save(operated.model, beside)
        twin = repository.same_file(beside, besides=target)
        if twin is not None:
            beside.unlink()
            os.link(twin, beside)
    accelerator = Accelerator(
        "openvino", parameters={"INFERENCE_PRECISION_HINT": "f32"} if request.precision == "f32" else {}
    )
    config = EntryConfig(
        name=name,
        sides_px=operated.sides_px or (-1, -1),
        max_batch_size=8,
        fit=operated.recipe.fit,
        multiple_px=1,
        license=preset.license,
        noncommercial=preset.noncommercial,
        engine="openvino",
        precision=request.precision,
        accelerator=accelerator,
        warmup_batch_sizes=(1, 2, 4, 8),
    )
    repository.write_config(name, render(config))
    return target.parent.parent
