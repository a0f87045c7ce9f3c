# SPDX-License-Identifier: Apache-2.0
"""For each family a small network with its quirks: added, run in batches, and compared with plain numpy."""

from pathlib import Path

import numpy as np
import pytest
from matting_models.commands.add import AddRequest, add
from matting_models.recipes.presets import PRESETS
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.sources.catalogue import Places
from matting_models.trials.engines import OnnxRuntimeRunner, OpenVinoRunner
from testkit.families import FAMILIES, Family, pictures, straightforward


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.preset)
def test_an_export_of_each_family_becomes_an_entry_with_the_same_answers(family: Family, tmp_path: Path) -> None:
    original = family.save(tmp_path / "export.onnx")
    repository = Repository(tmp_path / "repository")
    added = add(AddRequest(str(original), name="entry", preset=family.preset), repository, Places(tmp_path), print)

    images = pictures(5, 32)
    expected = [straightforward(family, original, image) for image in images]
    for runner in (
        OnnxRuntimeRunner(repository.model_path("entry")),
        OpenVinoRunner(repository.model_path("entry"), {"INFERENCE_PRECISION_HINT": "f32"}),
    ):
        alone = [runner.run(image[None])[0] for image in images]
        for found, wanted in zip(alone, expected, strict=True):
            assert np.abs(found.astype(int) - wanted).max() <= 1
        if family.batches:
            together = runner.run(images)
            assert np.abs(together.astype(int) - np.stack(alone)).max() <= 1

    config = read_config(repository.config_path("entry"))
    assert added.batches is family.batches
    assert (config.max_batch_size > 0) is family.batches
    assert config.fit is family.fit
    assert config.noncommercial is family.preset.startswith("rmbg")
    assert config.license == PRESETS[family.preset].license


def test_every_preset_is_tried() -> None:
    assert {family.preset for family in FAMILIES} == set(PRESETS)
