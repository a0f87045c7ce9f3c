# SPDX-License-Identifier: Apache-2.0
"""The default model, as `make setup` leaves it: rembg's own numbers at f32, int8 close to it, batches independent."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton_client
from matting_models.commands.add import AddRequest, add
from matting_models.commands.quantize import QuantizeRequest, quantize
from matting_models.commands.verify_command import VerifyRequest, original_file, verify
from matting_models.quantization.int8 import IN_F32, Bound
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.repository.variants import openvino_properties
from matting_models.setup import DEFAULT_MODEL
from matting_models.sources.catalogue import Places
from matting_models.sources.samples import ensure_samples
from matting_models.trials.engines import OpenVinoRunner
from matting_models.trials.pictures import at_size, open_photo
from matting_models.trials.reference import Reference
from matting_models.trials.trial import mean_difference
from matting_models.trials.verify import EXACT
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.local_triton import QUICK_START
from testkit.long_runs import only_in_long_runs

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
REPOSITORY = Repository(ROOT / "model_repository")
CACHE = ROOT / ".cache"
CHOSEN = ("astronaut", "chelsea", "rocket")


@pytest.fixture(scope="module")
def photos() -> list[npt.NDArray[np.uint8]]:
    paths = {path.stem: path for path in ensure_samples(CACHE, print)}
    return [at_size(open_photo(paths[name]), (320, 320)) for name in ("astronaut", "chelsea", "hubble_deep_field")]


@pytest.fixture(scope="module")
def exact() -> OpenVinoRunner:
    return OpenVinoRunner(REPOSITORY.model_path(DEFAULT_MODEL), IN_F32)


def test_f32_gives_the_numbers_of_rembg_and_int8_stays_near(
    exact: OpenVinoRunner, photos: list[npt.NDArray[np.uint8]]
) -> None:
    original, origin = original_file(REPOSITORY, DEFAULT_MODEL, CACHE, print)
    reference = Reference(original, origin.recipe, origin.output_name)
    reduced = OpenVinoRunner(REPOSITORY.model_path(f"{DEFAULT_MODEL}-int8"))
    for photo in photos[:2]:
        expected, _ = reference.answer(photo)
        found = exact.run(photo[None])[0]
        assert np.abs(found.astype(int) - expected).max() <= EXACT.worst_steps
        assert mean_difference(found, expected) < 0.001
        assert mean_difference(reduced.run(photo[None])[0], expected) <= 0.03


def test_a_photo_is_answered_the_same_in_any_company(
    exact: OpenVinoRunner, photos: list[npt.NDArray[np.uint8]]
) -> None:
    assert_the_same_in_any_company(exact, photos)


def test_at_int8_too_a_photo_is_answered_the_same_in_any_company(photos: list[npt.NDArray[np.uint8]]) -> None:
    runner = OpenVinoRunner(REPOSITORY.model_path(f"{DEFAULT_MODEL}-int8"), IN_F32)
    assert_the_same_in_any_company(runner, photos)


def assert_the_same_in_any_company(runner: OpenVinoRunner, photos: list[npt.NDArray[np.uint8]]) -> None:
    alone = runner.run(photos[0][None])[0]
    together = runner.run(np.stack([photos[2], photos[0], photos[1]]))[1]
    assert np.abs(together.astype(int) - alone).max() <= 1


@only_in_long_runs  # small networks of every preset are added and served in test_models_served
@pytest.mark.triton
def test_a_small_model_is_added_by_name_verified_quantised_and_served(triton_runtime: Runtime, tmp_path: Path) -> None:
    repository, said = Repository(tmp_path / "repository"), list[str]()
    add(AddRequest("u2netp"), repository, Places(CACHE), said.append)
    files = {path.stem: path for path in ensure_samples(CACHE, print)}
    chosen = tuple(files[name] for name in CHOSEN)
    result, _ = verify(VerifyRequest("u2netp", photos=chosen[:1]), repository, CACHE, said.append)
    assert result.failures == ()
    # A bound so wide that no layers are searched for: what the search finds is measured elsewhere.
    wide = QuantizeRequest("u2netp", chosen, crops_per_photo=0, bound=Bound(0.5, 1.0))
    quantize(wide, repository, tmp_path / "cache", said.append)
    images = np.stack([at_size(open_photo(path), (320, 320)) for path in chosen])
    with (
        LocalTriton(triton_runtime, repository.root, grace_s=0, extra_arguments=QUICK_START) as triton,
        triton_client.InferenceServerClient(triton.grpc_address) as client,
    ):
        assert triton.failed_models == {}
        served = {name: _infer(client, name, images) for name in ("u2netp", "u2netp-int8")}
    for name, found in served.items():
        accelerator = read_config(repository.config_path(name)).accelerator
        runner = OpenVinoRunner(repository.model_path(name), openvino_properties(accelerator))
        assert np.abs(found.astype(int) - runner.run(images)).max() <= 1


def _infer(
    client: triton_client.InferenceServerClient, name: str, images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    tensor = triton_client.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    alpha = client.infer(name, [tensor]).as_numpy("alpha")
    assert alpha is not None
    return np.asarray(alpha, np.uint8)


def test_the_committed_entries_are_whole() -> None:
    for name in (DEFAULT_MODEL, f"{DEFAULT_MODEL}-int8"):
        config = read_config(REPOSITORY.config_path(name))
        assert config.name == name
        assert config.sides_px == (320, 320)
        assert config.license == "Apache-2.0"
