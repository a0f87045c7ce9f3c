# SPDX-License-Identifier: Apache-2.0
"""What real exports do beside the format's letter is put right; what is no matting network is told what it is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from matting_models.commands import build
from matting_models.commands.add import Added, AddRequest, add
from matting_models.errors import EngineError, InterfaceError, ModelUnreadableError, RecipeError, VerificationError
from matting_models.graph.nodes import sort_nodes
from matting_models.graph.saving import save_model
from matting_models.graph.surgery import with_layout
from matting_models.recipes.presets import preset_of
from matting_models.recipes.recipe import Recipe
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.repository.variants import Variant
from matting_models.sources.catalogue import Places
from matting_models.trials.engines import OnnxRuntimeRunner, Pixels
from matting_models.trials.reference import Reference
from onnx import TensorProto, helper
from testkit import tiny_networks as tiny
from testkit.families import pictures

AddNet = Callable[..., Added]


@dataclass(frozen=True)
class Exported:
    """A model as it is, in place of a network that is saved."""

    model: onnx.ModelProto

    def save(self, path: Path, _opset: int) -> Path:
        onnx.save(self.model, path)
        return path


@pytest.mark.slow
def test_a_graph_out_of_order_is_sorted_and_only_what_feeds_nothing_is_dropped(
    add_net: AddNet, repository: Repository, tmp_path: Path
) -> None:
    add_net(Exported(tiny.unsorted(tiny.isnet())), preset="isnet")
    graph = onnx.load(repository.model_path("entry")).graph
    assert sum(node.op_type == "Conv" for node in graph.node) == 2
    _assert_as_the_original(repository, tmp_path, "isnet")


def test_nodes_in_order_stay_where_they_are() -> None:
    graph = tiny.birefnet().model().graph
    before = [node.name for node in graph.node]
    assert not sort_nodes(graph)
    assert [node.name for node in graph.node] == before


def test_a_graph_that_runs_in_a_circle_is_refused_by_the_name_of_a_node(tmp_path: Path, repository: Repository) -> None:
    model = tiny.plain().model()
    model.graph.node[0].input[0] = model.graph.node[1].output[0]
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(ModelUnreadableError, match="needs its own answer"):
        add(AddRequest(str(tmp_path / "network.onnx"), name="entry"), repository, Places(tmp_path), print)


@pytest.mark.slow
def test_a_file_of_the_third_format_whose_constants_are_no_inputs(
    add_net: AddNet, repository: Repository, tmp_path: Path
) -> None:
    add_net(Exported(tiny.of_the_third_format(tiny.u2net())), preset="u2net")
    _assert_as_the_original(repository, tmp_path, "u2net")


def _assert_as_the_original(repository: Repository, tmp_path: Path, preset: str) -> None:
    runner = OnnxRuntimeRunner(repository.model_path("entry"))
    recipe = with_layout(preset_of(preset).recipe, onnx.load(tmp_path / "export.onnx").graph)
    reference = Reference(tmp_path / "export.onnx", recipe, onnx.load(tmp_path / "export.onnx").graph.output[0].name)
    images = pictures(3, 32)
    for image, found in zip(images, runner.run(images), strict=True):
        assert np.abs(found.astype(int) - reference.answer(image)[0]).max() <= 1


def test_what_openvino_refuses_is_added_for_onnxruntime_and_the_tool_says_so(
    add_net: AddNet, repository: Repository, told: list[str]
) -> None:
    add_net(tiny.deformable(), opset=19, preset="birefnet")
    config = read_config(repository.config_path("entry"))
    assert (config.engine, config.accelerator, config.precision) == ("onnxruntime", None, "f32")
    assert any("OpenVINO does not run this network" in line for line in told)


def test_a_precision_that_only_openvino_has_is_not_quietly_left_out(add_net: AddNet, repository: Repository) -> None:
    with pytest.raises(RecipeError, match="Leave --precision out"):
        add_net(tiny.deformable(), opset=19, preset="birefnet", variant=Variant("openvino", "bf16"))
    assert repository.names() == []


def test_an_engine_whose_answers_are_others_is_not_taken(
    add_net: AddNet, repository: Repository, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(OnnxRuntimeRunner):
        def __init__(self, path: Path, _properties: object) -> None:
            super().__init__(path)

        def run(self, images: Pixels) -> Pixels:
            return np.zeros_like(super().run(images))

    monkeypatch.setattr(build, "OpenVinoRunner", Blind)
    add_net(tiny.plain(), recipe=Recipe())
    assert read_config(repository.config_path("entry")).engine == "onnxruntime"
    assert any("its answers differ by" in line for line in told)


def test_an_engine_that_takes_a_gpu_is_said_not_to_have_been_tried(add_net: AddNet, told: list[str]) -> None:
    add_net(tiny.plain(), recipe=Recipe(), variant=Variant("cuda"))
    assert any("not tried on cuda" in line for line in told)


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (tiny.classifier(), r"\[1, 1000, 1, 1\]: 1000 number\(s\) for the whole picture, as classifiers"),
        (tiny.detector(), r"\[1, 22, 64\]: its height and width do not follow the photo's, as in detectors"),
        (tiny.face_parts(), r"\[1, 4, 32, 32\]: 4 channels, where one was expected"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"recipe": Recipe()}, {"preset": "modnet"}])
def test_what_is_no_matting_network_is_refused_with_what_it_answers(
    net: tiny.Net, expected: str, options: dict[str, object], add_net: AddNet, repository: Repository
) -> None:
    with pytest.raises(InterfaceError, match=expected):
        add_net(net, **options)
    assert repository.names() == []


def test_a_text_detector_is_not_guessed_and_not_taken_for_the_family_named(
    add_net: AddNet, repository: Repository
) -> None:
    for name in ("x", "img"):
        with pytest.raises(RecipeError, match="could not be guessed"):
            add_net(tiny.text_detector(name))
        with pytest.raises(RecipeError, match="text detectors"):
            add_net(tiny.text_detector(name), preset="pp-matting")
    with pytest.raises(RecipeError, match="PP-OCR's networks for text"):
        add_net(tiny.modnet("x", "sigmoid_0.tmp_0"), preset="pp-matting")
    assert repository.names() == []


@pytest.mark.parametrize(
    ("net", "named", "found"),
    [
        (tiny.u2net(), "isnet", "this is U^2-Net, small: its first output is 1959"),
        (tiny.isnet(1024), "u2net", "this is IS-Net"),
        (tiny.birefnet(), "u2net", "this is BiRefNet"),
        (tiny.modnet(), "isnet", "this is MODNet"),
        (tiny.withoutbg(), "birefnet", "this is withoutBG"),
    ],
)
def test_a_file_that_contradicts_the_preset_named_is_refused_with_what_was_found(
    net: tiny.Net, named: str, found: str, add_net: AddNet, repository: Repository
) -> None:
    with pytest.raises(RecipeError, match=found.replace("^", r"\^")) as caught:
        add_net(net, preset=named)
    assert f"--preset {named} was named" in str(caught.value)
    assert repository.names() == []


def test_whoever_says_by_hand_how_the_photo_is_wanted_is_believed(add_net: AddNet) -> None:
    assert add_net(tiny.u2net(), opset=11, preset="isnet", recipe=Recipe(mean=(0.5, 0.5, 0.5))).batches


def test_a_network_that_cannot_run_on_the_size_is_told_so(add_net: AddNet) -> None:
    net = tiny.Net("input", [1, 3, "height", "width"])
    net.op("Reshape", net.constant(np.array([1, 3, 48, 48], np.int64))).conv(3, 1).op("Sigmoid")
    net.output("mask", [1, 1, 48, 48])
    with pytest.raises(EngineError, match="cannot be run on a photo of 512x512 pixels"):
        add_net(net, recipe=Recipe(size_px=(512, 512)))


@pytest.mark.slow
def test_a_free_dimension_written_as_minus_one_is_free(add_net: AddNet, repository: Repository) -> None:
    model = tiny.modnet().model()
    for axis in (0, 2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = -1
    add_net(Exported(model), preset="modnet")
    assert read_config(repository.config_path("entry")).sides_px == (-1, -1)


@pytest.mark.slow
def test_an_alpha_smaller_than_its_photo_is_enlarged_with_free_sides_too(
    add_net: AddNet, repository: Repository
) -> None:
    net = tiny.Net("input", ["n", 3, "height", "width"])
    net.conv(3, 1, stride=2).op("Sigmoid").output("mask", ["n", 1, "a", "b"])
    add_net(net, preset="modnet", settled=True)
    images = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3), np.uint8)
    assert OnnxRuntimeRunner(repository.model_path("entry")).run(images).shape == (1, 64, 96)


def test_a_chaotic_network_is_called_so_and_judged_by_its_own_jitter(add_net: AddNet, told: list[str]) -> None:
    add_net(tiny.chaotic(), recipe=Recipe(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), settled=True)
    assert any("this network is chaotic" in line for line in told)
    assert not any("same answers as the original" in line for line in told)


def test_an_entry_beyond_its_originals_jitter_is_not_added(
    add_net: AddNet, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reference, "answer", lambda self, image: (image[..., 0], True))
    with pytest.raises(VerificationError, match=r"moves by 0\.00/255"):
        add_net(tiny.plain(), recipe=Recipe())
    assert repository.names() == []


@pytest.mark.slow
def test_a_graph_that_loads_with_a_batch_of_one_only_is_served_as_single_calls(
    add_net: AddNet, repository: Repository, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Path] = []

    def save(model: onnx.ModelProto, path: Path) -> None:
        saved.append(path)
        if len(saved) == 1:
            raise EngineError("onnxruntime refuses a batch")
        save_model(model, path)

    monkeypatch.setattr(build, "save_model", save)
    assert not add_net(tiny.plain(), recipe=Recipe()).batches
    assert read_config(repository.config_path("entry")).max_batch_size == 0
    assert any("served as single calls: onnxruntime refuses a batch" in line for line in told)


def test_a_network_that_finds_nothing_in_the_test_pictures_is_warned_of(add_net: AddNet, told: list[str]) -> None:
    net = tiny.Net("input", [1, 3, 32, 32])
    net.op("ReduceMean", axes=[1], keepdims=1).op("Mul", net.constant(np.array(0.0, np.float32)))
    add_net(net.output("mask", [1, 1, 32, 32]), recipe=Recipe())
    assert any("finds nothing in any of the test pictures" in line for line in told)


def test_nodes_inside_a_branch_are_sorted_too() -> None:
    inner = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Abs", ["x"], ["a"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
    )
    branch = helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph(
        [branch, helper.make_node("Identity", ["input"], ["x"])],
        "outer",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    assert sort_nodes(graph)
    assert [node.op_type for node in graph.node] == ["Identity", "If"]
    assert [node.op_type for node in graph.node[1].attribute[0].g.node] == ["Abs", "Neg"]
