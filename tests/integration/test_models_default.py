# SPDX-License-Identifier: Apache-2.0
"""The default model, as `make setup` leaves it: rembg's own numbers at f32, int8 close to it, batches independent."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matting_models.config_reader import read_config
from matting_models.engines import OpenVinoRunner
from matting_models.int8 import IN_F32, mean_difference
from matting_models.pictures import at_size, open_photo
from matting_models.reference import Reference
from matting_models.repository import Repository
from matting_models.samples import ensure_samples
from matting_models.setup import DEFAULT_MODEL
from matting_models.verify import EXACT
from matting_models.verify_command import original_file

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
REPOSITORY = Repository(ROOT / "model_repository")
CACHE = ROOT / ".cache"


@pytest.fixture(scope="module")
def photos() -> list[npt.NDArray[np.uint8]]:
    paths = {path.stem: path for path in ensure_samples(CACHE, print)}
    return [at_size(open_photo(paths[name]), (320, 320)) for name in ("astronaut", "chelsea", "hubble_deep_field")]


def test_f32_gives_the_numbers_of_rembg_and_int8_stays_near(photos: list[npt.NDArray[np.uint8]]) -> None:
    original, origin = original_file(REPOSITORY, DEFAULT_MODEL, CACHE, print)
    reference = Reference(original, origin.recipe, origin.output_name)
    exact = OpenVinoRunner(REPOSITORY.model_path(DEFAULT_MODEL), IN_F32)
    reduced = OpenVinoRunner(REPOSITORY.model_path(f"{DEFAULT_MODEL}-int8"))
    for photo in photos[:2]:
        expected, _ = reference.answer(photo)
        found = exact.run(photo[None])[0]
        assert np.abs(found.astype(int) - expected).max() <= EXACT.worst_steps
        assert mean_difference(found, expected) < 0.001
        assert mean_difference(reduced.run(photo[None])[0], expected) <= 0.03


@pytest.mark.parametrize("suffix", ["", "-int8"])
def test_a_photo_is_answered_the_same_in_any_company(suffix: str, photos: list[npt.NDArray[np.uint8]]) -> None:
    runner = OpenVinoRunner(REPOSITORY.model_path(DEFAULT_MODEL + suffix), IN_F32)
    alone = runner.run(photos[0][None])[0]
    together = runner.run(np.stack([photos[2], photos[0], photos[1]]))[1]
    assert np.abs(together.astype(int) - alone).max() <= 1


def test_the_committed_entries_are_whole() -> None:
    for name in (DEFAULT_MODEL, f"{DEFAULT_MODEL}-int8"):
        config = read_config(REPOSITORY.config_path(name))
        assert config.name == name
        assert config.sides_px == (320, 320)
        assert config.license == "Apache-2.0"
