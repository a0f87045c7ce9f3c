# SPDX-License-Identifier: Apache-2.0
"""What a photo's neighbours in a batch are makes no difference to its alpha, on the real model."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from numpy.typing import NDArray
from tritonclient import grpc as tritonclient

pytestmark = [pytest.mark.triton, pytest.mark.model]

MODEL = Path(__file__).parents[2] / "model_repository" / "u2net"
SIDE_PX = 320
Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def client(
    triton_runtime: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tritonclient.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("models")
    shutil.copytree(MODEL, repository / "u2net", copy_function=os.symlink)
    config = repository / "u2net" / "config.pbtxt"
    text = config.read_text().partition("model_warmup")[0]  # one batch size is used, once
    config.unlink()
    config.write_text(text)
    with LocalTriton(triton_runtime, repository, grace_s=0) as triton:
        yield tritonclient.InferenceServerClient(triton.grpc_address)


def alphas(client: tritonclient.InferenceServerClient, images: list[Images]) -> Images:
    batch = np.stack(images)
    wanted = tritonclient.InferInput("image", list(batch.shape), "UINT8")
    wanted.set_data_from_numpy(batch)
    answer: Images = client.infer("u2net", [wanted]).as_numpy("alpha")
    return answer


def photo() -> Images:
    """A bright disc on a gradient: something to cut out."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    image = np.stack([x // 4, y // 4, (x + y) // 8], axis=-1).astype(np.uint8)
    image[(x - 170) ** 2 + (y - 150) ** 2 < 80**2] = (240, 200, 60)
    return image


def neighbours() -> list[Images]:
    """White, black, noise, and stripes of extremes."""
    shape = (SIDE_PX, SIDE_PX, 3)
    rows = np.indices(shape)[0] % 2
    return [
        np.full(shape, 255, np.uint8),
        np.zeros(shape, np.uint8),
        np.random.default_rng(5).integers(0, 256, shape, np.uint8),
        (rows * 255).astype(np.uint8),
    ]


@pytest.fixture(scope="module")
def in_company(client: tritonclient.InferenceServerClient) -> Images:
    """The photo's alpha beside white, black and noise."""
    white, black, noise, _ = neighbours()
    mine: Images = alphas(client, [photo(), white, black, noise])[0]
    return mine


def test_the_same_photo_gives_the_same_bytes_beside_any_neighbours(
    client: tritonclient.InferenceServerClient, in_company: Images
) -> None:
    assert in_company.max() == 255  # there is a subject, so that equality says something
    white, _, noise, stripes = neighbours()
    assert np.array_equal(alphas(client, [noise, stripes, white, photo()])[3], in_company)


def test_in_a_batch_of_another_size_it_differs_by_one_step_at_most(
    client: tritonclient.InferenceServerClient, in_company: Images
) -> None:
    alone = alphas(client, [photo()])[0].astype(int)
    assert np.abs(alone - in_company).max() <= 1
