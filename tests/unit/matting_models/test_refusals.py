# SPDX-License-Identifier: Apache-2.0
"""What cannot become an entry is refused with what was found and what was expected, and nothing is left behind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from matting_models.commands.add import Added, AddRequest, add
from matting_models.errors import (
    EntryExistsError,
    HashMismatchError,
    InterfaceError,
    ModelsError,
    ModelUnreadableError,
    OpsetUnsupportedError,
    RecipeError,
)
from matting_models.recipes.recipe import Recipe
from matting_models.repository.repository import Repository
from matting_models.sources.catalogue import Places
from onnx import TensorProto, helper
from testkit import tiny_networks as tiny

AddNet = Callable[..., Added]


def refusal(repository: Repository, path: Path, kind: type[ModelsError], **options: object) -> str:
    with pytest.raises(kind) as caught:
        add(AddRequest(str(path), name="entry", **options), repository, Places(path.parent), print)  # type: ignore[arg-type]  # options of the test
    assert repository.names() == [], "a refused model leaves nothing in the repository"
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"\xff\xd8\xff\xe0 a photo", b"hello world"])
def test_a_file_that_is_not_onnx(content: bytes, tmp_path: Path, repository: Repository) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    assert "not an ONNX model" in refusal(repository, path, ModelUnreadableError)


def test_a_file_that_is_not_there_and_no_known_name(tmp_path: Path, repository: Repository) -> None:
    assert "u2net" in refusal(repository, tmp_path / "nothing.onnx", RecipeError)


def test_a_truncated_file(tmp_path: Path, repository: Repository) -> None:
    path = tiny.plain().save(tmp_path / "network.onnx")
    path.write_bytes(path.read_bytes()[:-200])
    assert "network.onnx" in refusal(repository, path, ModelUnreadableError)


def test_external_data_that_is_missing(tmp_path: Path, repository: Repository) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(tiny.plain().model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert "weights.bin" in refusal(repository, path, ModelUnreadableError)


@pytest.mark.parametrize("opset", [7, 99])
def test_an_opset_no_engine_runs(opset: int, tmp_path: Path, repository: Repository) -> None:
    path = tiny.plain().save(tmp_path / "network.onnx", opset)
    assert f"opset {opset}" in refusal(repository, path, OpsetUnsupportedError)


def test_operators_of_another_maker(tmp_path: Path, repository: Repository) -> None:
    model = tiny.plain().model()
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.node[0].domain = "com.example"
    onnx.save(model, tmp_path / "network.onnx")
    assert "com.example" in refusal(repository, tmp_path / "network.onnx", OpsetUnsupportedError)


def _with_inputs(*names: str) -> onnx.ModelProto:
    model = tiny.plain().model()
    for name in names:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 32, 32]))
    return model


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("second",), "2 inputs"), (("r1i", "r2i", "r3i", "r4i"), "state"), (("trimap",), "trimap")],
)
def test_inputs_beside_the_photo(names: tuple[str, ...], expected: str, tmp_path: Path, repository: Repository) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(_with_inputs(*names), path)
    message = refusal(repository, path, InterfaceError)
    assert expected in message
    assert names[0] in message


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ([1, 4, 32, 32], "trimap"),
        (["a", "b", "c", "d"], "Nothing is fixed"),
        ([1, 1, 32, 32], "three colours"),
        ([1, 3, 32], "four axes"),
    ],
)
def test_an_input_that_is_no_photo(
    dims: list[int | str], expected: str, tmp_path: Path, repository: Repository
) -> None:
    net = tiny.Net("input", dims).op("Relu").output("mask", dims)
    assert expected in refusal(repository, net.save(tmp_path / "network.onnx"), InterfaceError, recipe=Recipe())


def test_an_input_that_is_not_floating_point(tmp_path: Path, repository: Repository) -> None:
    net = tiny.Net("input", [1, 3, 32, 32], element_type=TensorProto.INT64).op("Abs").output("mask", [1, 3, 32, 32])
    assert "INT64" in refusal(repository, net.save(tmp_path / "network.onnx"), InterfaceError, recipe=Recipe())


def test_an_output_of_several_channels(tmp_path: Path, repository: Repository) -> None:
    net = tiny.Net("input", [1, 3, 32, 32]).conv(3, 2).op("Sigmoid").output("mask", [1, 2, 32, 32])
    assert "one channel" in refusal(repository, net.save(tmp_path / "network.onnx"), InterfaceError, recipe=Recipe())


def test_an_output_that_does_not_exist(tmp_path: Path, repository: Repository) -> None:
    path = tiny.plain().save(tmp_path / "network.onnx")
    message = refusal(repository, path, InterfaceError, recipe=Recipe(), output_name="alpha")
    assert "it has mask" in message


def test_a_hash_that_does_not_match(tmp_path: Path, repository: Repository) -> None:
    path = tiny.plain().save(tmp_path / "network.onnx")
    assert "0" * 64 in refusal(repository, path, HashMismatchError, sha256="0" * 64)


def test_a_network_of_no_known_family(tmp_path: Path, repository: Repository) -> None:
    message = refusal(repository, tiny.plain().save(tmp_path / "network.onnx"), RecipeError)
    assert "--preset" in message
    assert "--mean" in message


def test_a_size_the_network_does_not_have(tmp_path: Path, repository: Repository) -> None:
    path = tiny.plain().save(tmp_path / "network.onnx")
    assert "32x32" in refusal(repository, path, RecipeError, recipe=Recipe(), sides_px=(64, 64))


def test_a_preset_that_does_not_exist(tmp_path: Path, repository: Repository) -> None:
    path = tiny.plain().save(tmp_path / "network.onnx")
    assert "birefnet" in refusal(repository, path, RecipeError, preset="magic")


@pytest.mark.parametrize("name", ["../escape", "a b", ".hidden", ""])
def test_a_name_that_cannot_name_an_entry(name: str, tmp_path: Path, repository: Repository) -> None:
    path = tiny.plain().save(tmp_path / "with space.onnx")
    with pytest.raises(RecipeError, match="cannot name an entry"):
        add(AddRequest(str(path), name=name, recipe=Recipe()), repository, Places(tmp_path), print)


def test_a_name_that_exists(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    before = repository.model_path("entry").read_bytes()
    with pytest.raises(EntryExistsError, match="--replace"):
        add_net(tiny.isnet(), preset="isnet")
    assert repository.model_path("entry").read_bytes() == before


@pytest.mark.slow
def test_a_version_of_another_interface(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    with pytest.raises(InterfaceError, match="one entry has one interface"):
        add_net(tiny.plain(64), recipe=Recipe(), version=2)
    assert repository.versions("entry") == [1]


def test_a_network_that_answers_with_nan(tmp_path: Path, repository: Repository) -> None:
    net = tiny.Net("input", [1, 3, 32, 32]).conv(3, 1)
    net.op("Mul", net.constant(np.array(np.nan, np.float32))).op("Sigmoid").output("mask", [1, 1, 32, 32])
    path = net.save(tmp_path / "network.onnx")
    with pytest.raises(ModelsError, match="NaN"):
        add(AddRequest(str(path), name="entry", recipe=Recipe()), repository, Places(tmp_path), print)
    assert repository.names() == []
