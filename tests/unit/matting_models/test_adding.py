# SPDX-License-Identifier: Apache-2.0
"""Facts about adding: guesses, options, engines, versions, notes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from matting_models.commands.add import Added
from matting_models.commands.add_options import RecipeOptions, recipe_from, sides_from
from matting_models.errors import RecipeError
from matting_models.graph.guess import guess
from matting_models.recipes.presets import preset_of
from matting_models.recipes.recipe import Activation, Channels, Fit, Normalise, Recipe
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.repository.variants import Variant
from matting_models.trials.engines import OnnxRuntimeRunner
from onnx import TensorProto
from testkit import tiny_networks as tiny

AddNet = Callable[..., Added]


@pytest.mark.parametrize(
    ("net", "preset"),
    [
        (tiny.u2net(), "u2netp"),
        (tiny.u2net(320, first="d0"), "u2netp"),
        (tiny.isnet(1024), "isnet"),
        (tiny.modnet(), "modnet"),
        (tiny.modnet("img", "alpha"), "pp-matting"),
        (tiny.birefnet(), "birefnet"),
        (tiny.birefnet(input_name="pixel_values", output_name="alphas"), "rmbg-2.0"),
        (tiny.inspyrenet(), "inspyrenet"),
        (tiny.withoutbg(), "withoutbg"),
    ],
)
def test_a_family_is_guessed_with_a_reason(net: tiny.Net, preset: str) -> None:
    guessed = guess(net.model().graph)
    assert guessed.preset.name == preset
    assert len(guessed.reason) > 10


def test_where_the_licence_hangs_on_it_nothing_is_guessed() -> None:
    with pytest.raises(RecipeError, match=r"rmbg-1\.4"):
        guess(tiny.isnet(1024, output_count=1).model().graph)


def test_a_licence_that_forbids_commercial_use_is_told(
    add_net: AddNet, told: list[str], repository: Repository
) -> None:
    add_net(tiny.isnet(output_count=1), preset="rmbg-1.4")
    assert any("forbids commercial use" in line for line in told)
    assert read_config(repository.config_path("entry")).noncommercial


@pytest.mark.slow
def test_a_network_that_cannot_batch_is_served_as_single_calls_and_the_tool_says_so(
    add_net: AddNet, told: list[str], repository: Repository
) -> None:
    add_net(tiny.ben2(), preset="ben2")
    text = repository.config_path("entry").read_text()
    assert any("cannot take a batch" in line for line in told)
    assert any("batch axis" in line for line in told)
    assert "max_batch_size: 0" in text
    assert "dims: [1, 32, 32, 3]" in text
    assert "dynamic_batching" not in text


def test_a_batch_wide_min_max_is_mended_and_told(add_net: AddNet, told: list[str]) -> None:
    assert add_net(tiny.inspyrenet(), preset="inspyrenet").batches
    assert any("ReduceMin over the whole batch" in line for line in told)


@pytest.mark.slow
def test_a_sigmoid_in_the_graph_is_not_added_again(add_net: AddNet, told: list[str]) -> None:
    add_net(tiny.birefnet(sigmoid=True), preset="birefnet")
    assert any("sigmoid is in the graph already" in line for line in told)


def test_only_the_alpha_is_left_of_many_outputs(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.isnet(), preset="isnet")
    graph = onnx.load(repository.model_path("entry")).graph
    assert [output.name for output in graph.output] == ["alpha"]
    assert sum(node.op_type == "Conv" for node in graph.node) == 2
    assert not any(node.op_type == "Constant" for node in graph.node)


@pytest.mark.parametrize("element_type", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_networks_in_other_precisions_keep_theirs(element_type: int, add_net: AddNet, repository: Repository) -> None:
    net = tiny.Net("input", [1, 3, 32, 32], element_type=element_type)
    kind = np.float16 if element_type == TensorProto.FLOAT16 else np.float64
    net.op("ReduceMean", axes=[1], keepdims=1).op("Mul", net.constant(np.array(0.5, kind)))
    net.output("mask", [1, 1, 32, 32])
    add_net(net, recipe=Recipe())
    image = np.full((2, 32, 32, 3), 200, np.uint8)
    assert abs(int(OnnxRuntimeRunner(repository.model_path("entry")).run(image)[0, 0, 0]) - 100) <= 1


def test_a_network_with_colours_last_and_blue_first(add_net: AddNet, repository: Repository) -> None:
    net = tiny.Net("image", [1, 32, 32, 3])
    weights = net.constant(np.array([1.0, 0.0, 0.0], np.float32).reshape(1, 1, 1, 3))
    net.op("Mul", weights).op("ReduceMax", axes=[3], keepdims=1).output("alpha", [1, 32, 32, 1])
    add_net(net, recipe=Recipe(channels=Channels.BGR))
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[..., 2] = 77
    assert (OnnxRuntimeRunner(repository.model_path("entry")).run(image) == 77).all()


def test_weights_beside_the_file_are_taken_in(add_net: AddNet, tmp_path: Path, repository: Repository) -> None:
    model = tiny.plain().model()

    class Beside:
        def save(self, path: Path, opset: int) -> Path:
            onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
            return path

    add_net(Beside(), recipe=Recipe())
    (tmp_path / "weights.bin").unlink()
    OnnxRuntimeRunner(repository.model_path("entry")).run(np.zeros((1, 32, 32, 3), np.uint8))


def test_an_old_opset_is_brought_up(add_net: AddNet, repository: Repository) -> None:
    assert add_net(tiny.plain(), opset=9, recipe=Recipe()).batches


@pytest.mark.slow
def test_two_entries_of_one_network_share_its_file(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    add_net(tiny.plain(), name="entry-f32", recipe=Recipe(), variant=Variant(precision="f32"))
    assert repository.model_path("entry").samefile(repository.model_path("entry-f32"))
    assert 'value: "f32"' in repository.config_path("entry-f32").read_text()


@pytest.mark.slow
def test_a_tuned_config_is_kept_when_a_version_is_added(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    path = repository.config_path("entry")
    path.write_text(path.read_text().replace("max_batch_size: 8", "max_batch_size: 3"))
    add_net(tiny.plain(), recipe=Recipe(), version=2)
    assert repository.versions("entry") == [1, 2]
    assert read_config(path).max_batch_size == 3


def test_tensorrt_gets_half_precision_an_engine_cache_and_profiles(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe(), variant=Variant("tensorrt"), max_batch_size=4)
    config = read_config(repository.config_path("entry"))
    assert config.accelerator is not None
    assert config.accelerator.on_gpu
    parameters = config.accelerator.parameters
    assert parameters["precision_mode"] == "FP16"
    assert parameters["trt_engine_cache_enable"] == "1"
    assert parameters["trt_profile_min_shapes"] == "image:1x32x32x3"
    assert parameters["trt_profile_max_shapes"] == "image:4x32x32x3"
    assert "KIND_GPU" in repository.config_path("entry").read_text()


@pytest.mark.parametrize(("precision", "tf32"), [("auto", "1"), ("tf32", "1"), ("f32", "0")])
def test_cuda_is_warmed_with_every_size_that_is_computed(
    add_net: AddNet, repository: Repository, precision: str, tf32: str
) -> None:
    add_net(tiny.plain(), recipe=Recipe(), variant=Variant("cuda", precision), max_batch_size=12)
    config = read_config(repository.config_path("entry"))
    assert config.on_gpu
    assert config.accelerator is not None
    assert config.accelerator.name == "cuda"
    assert config.accelerator.parameters["use_tf32"] == tf32
    assert config.warmup_batch_sizes == (1, 2, 4, 8, 12)
    assert config.backend_parameters == {"cudnn_conv_algo_search": "1"}
    assert config.precision == ("f32" if precision == "f32" else "tf32")


def test_a_plan_entry_prints_the_line_that_builds_it(add_net: AddNet, told: list[str], repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe(), variant=Variant("tensorrt-plan"))
    assert 'platform: "tensorrt_plan"' in repository.config_path("entry").read_text()
    line = next(line for line in told if "trtexec" in line)
    assert "--fp16" in line
    assert "--maxShapes=image:8x32x32x3" in line


def test_an_engine_is_refused_a_precision_it_does_not_have() -> None:
    with pytest.raises(RecipeError, match="possible"):
        Variant("openvino", "f16")


def test_options_change_the_preset_they_are_given_with() -> None:
    recipe = recipe_from(RecipeOptions(mean="0.5", activation="none", scale="max", normalise="min-max"), "birefnet")
    assert recipe is not None
    assert recipe.mean == (0.5, 0.5, 0.5)
    assert recipe.scale is None
    assert recipe.activation is Activation.NONE
    assert recipe.normalise is Normalise.MIN_MAX
    assert recipe.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "options", [{"mean": "1,2"}, {"std": "0"}, {"scale": "-1"}, {"scale": "most"}, {"mean": "red"}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="--"):
        recipe_from(RecipeOptions(**options), "")  # type: ignore[arg-type]  # all of them are text


def test_a_photo_can_be_letterboxed_into_the_corner(add_net: AddNet, repository: Repository) -> None:
    recipe = recipe_from(RecipeOptions(resize="letterbox-top-left"), "")
    assert recipe is not None
    assert (recipe.fit, recipe.top_left) == (Fit.LETTERBOX, True)
    add_net(tiny.plain(), recipe=recipe)
    path = repository.config_path("entry")
    assert '"matting_fit_place" value { string_value: "top-left" }' in path.read_text()
    assert read_config(path).top_left


def test_withoutbg_is_letterboxed_into_the_corner_at_448_where_its_size_is_free() -> None:
    recipe = preset_of("withoutbg").recipe
    assert (recipe.fit, recipe.top_left, recipe.size_px) == (Fit.LETTERBOX, True, (448, 448))


def test_sizes_are_width_by_height() -> None:
    assert sides_from("640x480") == (480, 640)
    assert sides_from("320") == (320, 320)
    with pytest.raises(RecipeError):
        sides_from("wide")


def test_a_network_of_any_size_can_be_given_one(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.modnet(), preset="modnet", sides_px=(64, 96))
    assert read_config(repository.config_path("entry")).sides_px == (64, 96)


@pytest.mark.slow
def test_a_network_of_any_size_keeps_its_sides_free(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.modnet(), preset="modnet")
    config = read_config(repository.config_path("entry"))
    assert config.sides_px == (-1, -1)
    assert config.multiple_px == 32
    assert config.extra_parameters == {"matting_size": "512x512"}
