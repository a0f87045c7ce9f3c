# SPDX-License-Identifier: Apache-2.0
"""`quantize` keeps its bound or refuses; `tune` finds what a full sweep finds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from matting_models.commands.add import Added
from matting_models.commands.quantize import QuantizeRequest, quantize
from matting_models.commands.tune import Measured, OpenVinoMeter, Setting, best_setting, candidates, choose, tune, tuned
from matting_models.errors import ConfigBrokenError, QuantizationError
from matting_models.graph.layers import end_layers, layers_of
from matting_models.graph.restore import restored, rounding_losses
from matting_models.graph.single_maps import with_cheap_single_maps
from matting_models.graph.sizes import with_constant_sizes
from matting_models.quantization import int8
from matting_models.quantization.int8 import Bound, to_int8
from matting_models.recipes.recipe import Recipe
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.trials.engines import OpenVinoRunner
from matting_models.trials.pictures import synthetic
from matting_models.trials.trial import mean_difference
from PIL import Image
from testkit import tiny_networks as tiny

AddNet = Callable[..., Added]


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, ...]:
    paths = []
    for index in range(3):
        path = tmp_path / f"photo{index}.png"
        Image.fromarray(synthetic((48, 48), seed=index)["noise"]).save(path)
        paths.append(path)
    return tuple(paths)


@pytest.mark.slow
def test_an_int8_entry_stands_beside_its_original_and_the_second_time_comes_from_the_cache(
    add_net: AddNet, repository: Repository, photos: tuple[Path, ...], tmp_path: Path
) -> None:
    add_net(tiny.u2net(width=16, depth=4), opset=11, preset="u2net")
    said: list[str] = []
    request = QuantizeRequest("entry", photos, fold_count=2, bound=Bound(0.5, 0.5))
    report = quantize(request, repository, tmp_path / "cache", said.append)

    model = onnx.load(repository.model_path("entry-int8"))
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 0
    assert not any(node.op_type == "QuantizeLinear" and node.input[0].startswith("after.") for node in model.graph.node)
    config = read_config(repository.config_path("entry-int8"))
    assert (config.name, config.precision) == ("entry-int8", "int8")
    assert len(report.differences) == len(report.unseen_differences) == len(photos)
    for path, unseen in zip(photos, report.unseen_differences, strict=True):
        assert f"  {path.name} differs by {unseen:.4f}" in said
    assert "left out" in (tmp_path / "cache/reports/entry-int8-quantize.html").read_text()

    repository.remove("entry-int8")
    assert quantize(request, repository, tmp_path / "cache", said.append) == report
    assert any("taking the int8 form" in line for line in said)
    with pytest.raises(QuantizationError, match="int8 already"):
        quantize(QuantizeRequest("entry-int8", photos), repository, tmp_path / "cache", said.append)


@pytest.mark.slow
def test_layers_are_taken_back_until_the_bound_holds_or_it_is_refused(
    add_net: AddNet, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_net(tiny.u2net(width=16, depth=4), opset=11, preset="u2net")
    path = repository.model_path("entry")
    images = list(synthetic((32, 32)).values())[:3]
    runner = OpenVinoRunner(path, int8.IN_F32)
    expected = [runner.run(image[None])[0] for image in images]
    model = onnx.load(path)

    def attempt(bound: Bound) -> int8.Int8Model:
        return to_int8(model, images, images, expected, sides_px=(32, 32), bound=bound, say=print)

    loose = attempt(Bound(1.0, 1.0))
    assert len(loose.float_layers) == 2, "the first and the last"
    less = 0.95 * float(np.mean(loose.differences))
    with pytest.raises(QuantizationError, match="more photos"):
        attempt(Bound(1e-6, 1.0))
    monkeypatch.setattr(int8, "_LARGEST_FLOAT_SHARE", 1.0)
    strict = attempt(Bound(less, 1.0))
    assert len(strict.float_layers) > 2
    assert float(np.mean(strict.differences)) <= less


@pytest.mark.slow
def test_weights_use_all_of_their_8_bits_and_what_is_only_spare_costs_little_arithmetic(
    add_net: AddNet, repository: Repository
) -> None:
    add_net(tiny.u2net(width=16, depth=4), preset="u2net")
    path = repository.model_path("entry")
    images = list(synthetic((32, 32)).values())[:3]
    expected = [OpenVinoRunner(path, int8.IN_F32).run(image[None])[0] for image in images]
    model = onnx.load(path)

    def attempt(bound: Bound) -> int8.Int8Model:
        return to_int8(model, images, images, expected, sides_px=(32, 32), bound=bound, say=print)

    loose = attempt(Bound(1.0, 1.0))
    rounded = [onnx.numpy_helper.to_array(tensor) for tensor in loose.model.graph.initializer]
    weights = [array for array in rounded if array.dtype == np.int8 and array.ndim == 4]
    assert weights
    assert all(np.abs(array.astype(int)).max() == 127 for array in weights)

    close = attempt(Bound(1.0, 1.01 * max(loose.differences)))
    shares = {layer.name: layer.share for layer in layers_of(model, (32, 32))}
    taken_back = set(close.float_layers) - set(loose.float_layers)
    assert sum(shares[name] for name in taken_back) <= 0.03


@pytest.mark.slow
def test_a_network_with_all_layers_taken_back_answers_as_before(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.u2net(width=16, depth=4), preset="u2net")
    original = onnx.load(repository.model_path("entry"))
    images = list(synthetic((32, 32)).values())[:2]
    quantised = to_int8(
        original, images, images, [np.zeros((32, 32), np.uint8)] * 2, sides_px=(32, 32),
        bound=Bound(1.0, 1.0), say=print,
    ).model  # fmt: skip
    names = [layer.name for layer in layers_of(original, (32, 32))]
    again = OpenVinoRunner(restored(quantised, original, names).SerializeToString(), int8.IN_F32)
    before = OpenVinoRunner(original.SerializeToString(), int8.IN_F32)
    image = images[0][None]
    assert mean_difference(again.run(image)[0], before.run(image)[0]) < 0.02


@pytest.mark.slow
def test_rounding_takes_most_from_the_layer_in_which_single_weights_dwarf_the_others(
    add_net: AddNet, repository: Repository
) -> None:
    add_net(tiny.u2net(width=16, depth=4), preset="u2net")
    model = onnx.load(repository.model_path("entry"))
    layer = layers_of(model, (32, 32))[2].name
    name = next(node.input[1] for node in model.graph.node if node.name == layer)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    weights = onnx.numpy_helper.to_array(tensor).copy()
    weights[:, 0, 0, 0] = 20 * np.abs(weights).max()
    tensor.CopyFrom(onnx.numpy_helper.from_array(weights, name))
    images = list(synthetic((32, 32)).values())[:2]
    quantised = to_int8(
        model, images, images, [np.zeros((32, 32), np.uint8)] * 2, sides_px=(32, 32), bound=Bound(1.0, 1.0), say=print
    ).model
    losses = rounding_losses(quantised, model)
    assert max(losses, key=lambda name: losses[name]) == layer
    assert all(0 < loss < 0.1 for loss in losses.values())
    assert not set(end_layers(model.graph)) & set(losses)


def test_layers_are_weighed_by_their_multiplications(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.u2net(width=4), preset="u2net")
    layers = layers_of(onnx.load(repository.model_path("entry")), (32, 32))
    # 16x16 outputs of 3x3x3 by 4, against 32x32 outputs of 3x3x4 by 1.
    assert [round(layer.share, 3) for layer in layers] == [round(27 * 4 * 256 / (27 * 4 * 256 + 36 * 1024), 3), 0.571]


def test_the_first_and_the_last_layers_are_those_that_the_picture_and_the_alpha_reach_through_no_other() -> None:
    net = tiny.Net("input", [1, 3, 32, 32])
    net.conv(3, 4).op("Relu").conv(4, 4).op("Relu").conv(4, 1)
    graph = net.output("mask", [1, 1, 32, 32]).model().graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    assert end_layers(graph) == (convolutions[0], convolutions[-1])


@pytest.mark.slow
def test_sizes_that_a_graph_computes_become_constants_with_the_same_answers(
    add_net: AddNet, repository: Repository
) -> None:
    add_net(tiny.u2net(width=4), preset="u2net")
    original = onnx.load(repository.model_path("entry"))
    fixed = with_constant_sizes(original)
    images = np.stack(list(synthetic((32, 32)).values())[:2])
    before, after = (OpenVinoRunner(model.SerializeToString(), int8.IN_F32) for model in (original, fixed))
    assert {node.op_type for node in original.graph.node} >= {"Resize", "Shape"}
    assert "Shape" not in {node.op_type for node in fixed.graph.node}
    np.testing.assert_array_equal(after.run(images), before.run(images))


@pytest.mark.slow
def test_single_maps_are_enlarged_and_mixed_with_the_same_numbers(add_net: AddNet, repository: Repository) -> None:
    net = tiny.Net("input", [1, 3, 32, 32])
    net.conv(3, 4, stride=2).op("Relu")
    small = net.at
    empty = net.constant(np.array([], np.float32))
    sizes = net.constant(np.array([1, 1, 32, 32], np.int64))
    maps = []
    for stride in (1, 2):
        net.at = small
        net.conv(4, 1, stride=stride)
        net.op("Resize", empty, empty, sizes, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
        maps.append(net.at)
    net.op("Concat", maps[1], source=maps[0], axis=1).conv(2, 1, size=1).op("Sigmoid")
    add_net(net.output("mask", [1, 1, 32, 32]), recipe=Recipe())
    original = onnx.load(repository.model_path("entry"))
    cheap = with_cheap_single_maps(original, original)
    assert not {"Resize", "Concat"} & {node.op_type for node in cheap.graph.node if not node.name.startswith("after.")}
    images = np.stack(list(synthetic((32, 32)).values())[:3])
    before, after = (OpenVinoRunner(model.SerializeToString(), int8.IN_F32) for model in (original, cheap))
    assert np.abs(after.run(images).astype(int) - before.run(images)).max() <= 1


def noisy(setting: Setting, seconds: float) -> float:
    """A machine that likes two instances and batches of 4, measured the worse the shorter."""
    rng = np.random.default_rng([setting.instance_count, setting.batch_size, int(seconds * 10)])
    speed = 10.0 + 2.0 * (setting.instance_count == 2) + 3.0 * (setting.batch_size == 4)
    return speed * (1 + float(rng.normal(0, 0.03 / seconds**0.5)))


def test_tuning_is_as_good_as_the_best_of_a_full_sweep_within_5_percent() -> None:
    settings = candidates(4, (1, 2, 4, 8))
    chosen = choose(best_setting(settings, noisy, lambda _: None)).setting
    best = max(noisy(setting, 1000.0) for setting in settings)
    assert noisy(chosen, 1000.0) >= 0.95 * best


def test_of_equals_the_fewest_instances_and_the_largest_batch_are_taken() -> None:
    results = [Measured(Setting(2, 1, 4), 10.1), Measured(Setting(1, 2, 1), 10.0), Measured(Setting(1, 2, 8), 9.95)]
    assert choose(results).setting == Setting(1, 2, 8)


def test_cores_are_shared_out_evenly() -> None:
    assert {(s.instance_count, s.thread_count) for s in candidates(4, (1,))} == {(1, 4), (2, 2), (4, 1)}


@pytest.mark.slow
def test_tuning_writes_what_it_found(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.u2net(), preset="u2net")
    words = tune("entry", repository, 2, print, rounds_s=(0.02, 0.05))
    config = read_config(repository.config_path("entry"))
    assert "images/s" in words
    assert config.max_batch_size in (1, 2)
    assert config.accelerator is not None
    again = tuned(config, Setting(2, 1, 2), 2)
    assert again.instance_count == 2
    assert again.accelerator is not None
    assert again.accelerator.parameters == {"ENABLE_CPU_PINNING": "NO"}
    beside = tuned(again, Setting(1, 2, 4, side_by_side=True), 2)
    assert beside.accelerator is not None
    assert beside.accelerator.parameters == {"PERFORMANCE_HINT": "THROUGHPUT"}


def test_a_config_with_more_in_it_is_not_overwritten(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.u2net(), preset="u2net")
    path = repository.config_path("entry")
    path.write_text(path.read_text() + "response_cache { enable: false }\n")
    with pytest.raises(ConfigBrokenError, match="--dry-run"):
        tune("entry", repository, 2, print)


@pytest.mark.slow
def test_the_meter_counts_whole_batches(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.u2net(), preset="u2net")
    meter = OpenVinoMeter(repository.model_path("entry"), {}, (32, 32))
    assert meter(Setting(2, 1, 3), 0.05) > 0
    assert meter(Setting(1, 2, 3, side_by_side=True), 0.05) > 0
