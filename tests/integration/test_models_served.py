# SPDX-License-Identifier: Apache-2.0
"""Entries that `models add` makes are served by a real Triton, and a version is switched under load."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import tritonclient.grpc as triton_client
from matting_models.commands.add import AddRequest, add
from matting_models.recipes.recipe import Recipe
from matting_models.repository.origin import read_origin
from matting_models.repository.repository import Repository
from matting_models.repository.variants import Variant
from matting_models.sources.catalogue import Places
from matting_models.trials.engines import OnnxRuntimeRunner
from matting_models.trials.reference import Reference
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit import tiny_networks as tiny
from testkit.families import FAMILIES, pictures, straightforward
from testkit.local_triton import QUICK_START
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.triton

F32 = Variant("openvino", "f32")


def test_each_preset_is_served_with_the_answers_of_its_authors_program(
    triton_runtime: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("presets")
    repository = Repository(folder / "repository")
    originals = {family: family.save(folder / f"{family.preset}.onnx") for family in FAMILIES}
    for family, original in originals.items():
        request = AddRequest(str(original), name=family.preset, preset=family.preset, variant=F32)
        add(request, repository, Places(folder / "cache"), print)
    images = pictures(5, 32)
    with (
        LocalTriton(triton_runtime, repository.root, grace_s=0, extra_arguments=QUICK_START) as triton,
        triton_client.InferenceServerClient(triton.grpc_address) as client,
    ):
        assert triton.failed_models == {}
        for family, original in originals.items():
            expected = np.stack([straightforward(family, original, image) for image in images])
            batches = [images] if family.batches else [image[None] for image in images]
            found = np.concatenate([infer(client, family.preset, batch) for batch in batches])
            assert np.abs(found.astype(int) - expected).max() <= 1, family.preset


def test_exports_as_they_really_come_are_served_with_their_own_answers(triton_runtime: Runtime, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    exports = {
        "unsorted": (tiny.unsorted(tiny.isnet()), "isnet"),
        "third": (tiny.of_the_third_format(tiny.u2net()), "u2net"),
        "deformable": (tiny.deformable().model(19), "birefnet"),
        "corner": (tiny.withoutbg().model(), "withoutbg"),
    }
    references = {}
    for name, (model, preset) in exports.items():
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        add(AddRequest(str(path), name=name, preset=preset, variant=F32), repository, Places(tmp_path), print)
        origin = read_origin(repository.version_folder(name, 1))
        references[name] = Reference(path, origin.recipe, origin.output_name)
    images = pictures(3, 32)
    with (
        LocalTriton(triton_runtime, repository.root, grace_s=0, extra_arguments=QUICK_START) as triton,
        triton_client.InferenceServerClient(triton.grpc_address) as client,
    ):
        assert triton.failed_models == {}
        for name, reference in references.items():
            expected = np.stack([reference.answer(image)[0] for image in images])
            assert np.abs(infer(client, name, images).astype(int) - expected).max() <= 1, name


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One entry that batches, one of free sides, one of single calls through onnxruntime, and a broken one."""
    folder = tmp_path_factory.mktemp("models")
    repository = Repository(folder / "repository")
    places = Places(folder / "cache")

    def add_net(net: tiny.Net, name: str, preset: str, variant: Variant, version: int = 1) -> None:
        export = net.save(folder / f"{name}-{version}.onnx")
        add(
            AddRequest(str(export), name=name, preset=preset, variant=variant, version=version),
            repository,
            places,
            print,
        )

    add_net(tiny.birefnet(), "windows", "birefnet", F32)
    add_net(tiny.modnet(), "free", "modnet", F32)
    add_net(tiny.ben2(), "single", "ben2", Variant("onnxruntime", "auto"))
    shutil.copytree(repository.root / "windows", repository.root / "broken")
    repository.config_path("broken").write_text("name: {{{")
    return repository


@pytest.fixture(scope="module")
def triton(triton_runtime: Runtime, repository: Repository) -> Iterator[LocalTriton]:
    with LocalTriton(triton_runtime, repository.root, grace_s=0, extra_arguments=QUICK_START) as triton:
        yield triton


@pytest.fixture
def client(triton: LocalTriton) -> Iterator[triton_client.InferenceServerClient]:
    with triton_client.InferenceServerClient(triton.grpc_address) as client:
        yield client


def infer(
    client: triton_client.InferenceServerClient, name: str, images: npt.NDArray[np.uint8], version: str = ""
) -> npt.NDArray[np.uint8]:
    tensor = triton_client.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    alpha = client.infer(name, [tensor], model_version=version).as_numpy("alpha")
    assert alpha is not None
    return np.asarray(alpha, np.uint8)


@pytest.mark.parametrize(("name", "sides"), [("windows", (32, 32)), ("free", (64, 96)), ("single", (32, 32))])
def test_an_entry_is_served_with_the_answers_of_its_file(
    name: str, sides: tuple[int, int], client: triton_client.InferenceServerClient, repository: Repository
) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, *sides, 3), np.uint8)
    runner = OnnxRuntimeRunner(repository.model_path(name))
    batches = [images[:1]] if name == "single" else [images[:1], images]
    for batch in batches:
        found = infer(client, name, batch)
        assert found.shape == (len(batch), *sides)
        assert np.abs(found.astype(int) - runner.run(batch)).max() <= 1


def test_a_broken_entry_leaves_the_others_served(
    triton: LocalTriton, client: triton_client.InferenceServerClient
) -> None:
    assert not client.is_model_ready("broken")
    assert client.is_model_ready("windows")


def _constant(value: float) -> tiny.Net:
    """A network that answers the same everywhere, so that it is seen who answered."""
    net = tiny.Net("input", [1, 3, 32, 32])
    net.op("ReduceMean", axes=[1], keepdims=1).op("Mul", net.constant(np.array(0.0, np.float32)))
    net.op("Add", net.constant(np.array(value, np.float32)))
    return net.output("mask", [1, 1, 32, 32])


def test_a_version_is_switched_under_load_without_a_failed_or_mixed_answer(
    triton: LocalTriton, client: triton_client.InferenceServerClient, repository: Repository, tmp_path: Path
) -> None:
    def add_version(version: int, value: float) -> None:
        export = _constant(value).save(tmp_path / f"{version}.onnx")
        request = AddRequest(str(export), name="switched", recipe=Recipe(), version=version, variant=F32)
        add(request, repository, Places(tmp_path), print)

    add_version(1, 0.25)
    client.load_model("switched")
    old, new = 63, 191
    images = np.zeros((2, 32, 32, 3), np.uint8)
    seen: list[set[int]] = []
    failed: list[Exception] = []
    seen_old, seen_new, stop = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        with triton_client.InferenceServerClient(triton.grpc_address) as mine:
            while not stop.is_set():
                try:
                    values = set(np.unique(infer(mine, "switched", images)).tolist())
                except InferenceServerException as exc:
                    failed.append(exc)
                    return
                seen.append(values)
                (seen_new if values == {new} else seen_old).set()

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        assert seen_old.wait(20)
        add_version(2, 0.75)
        client.load_model("switched")
        assert seen_new.wait(20)
        # Both versions are kept: a caller may still pin the old one.
        assert set(np.unique(infer(client, "switched", images, "1")).tolist()) == {old}
        repository.remove("switched", 1)
        client.load_model("switched")
        with pytest.raises(InferenceServerException):
            infer(client, "switched", images, "1")
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failed == []
    assert {frozenset(values) for values in seen} == {frozenset({old}), frozenset({new})}
    assert set(np.unique(infer(client, "switched", images)).tolist()) == {new}, "the newest version answers in the end"
