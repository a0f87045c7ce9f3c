# SPDX-License-Identifier: Apache-2.0
"""What a model configuration means to the gateway."""

import pytest
from matting_gateway.domain.job import BatchKey
from matting_gateway.domain.model import Fit, ModelContract, ModelInput, ModelInstance
from matting_gateway.triton.discovery.contract import (
    accepts,
    fits_shape,
    instance_count,
    merge,
    newest_first,
    read_contract,
)
from open_inference.tensors import TensorSpec
from testkit.fake_triton import echo_config
from tritonclient.grpc import model_config_pb2 as mc


def matting_config(
    image: tuple[int, ...] = (320, 320, 3),
    alpha: tuple[int, ...] = (320, 320),
    *,
    max_batch_size: int = 8,
    parameters: dict[str, str] | None = None,
    image_type: int = mc.TYPE_UINT8,
) -> mc.ModelConfig:
    config = mc.ModelConfig(
        name="m",
        backend="onnxruntime",
        max_batch_size=max_batch_size,
        input=[mc.ModelInput(name="image", data_type=image_type, dims=image)],
        output=[mc.ModelOutput(name="alpha", data_type=mc.TYPE_UINT8, dims=alpha)],
    )
    for key, value in (parameters or {}).items():
        config.parameters[key].string_value = value
    return config


def matting_of(config: mc.ModelConfig) -> ModelInput | None:
    return read_contract("a:1", ["1"], config).matting


def test_the_one_interface_is_recognised_with_its_fit() -> None:
    parameters = {"matting_fit": "letterbox", "matting_fit_multiple": "32"}
    assert matting_of(matting_config(parameters=parameters)) == ModelInput(320, 320, Fit.LETTERBOX, 32)


def test_a_photo_may_be_wanted_in_the_corner() -> None:
    parameters = {"matting_fit": "letterbox", "matting_fit_place": "top-left"}
    assert matting_of(matting_config(parameters=parameters)) == ModelInput(320, 320, Fit.LETTERBOX, top_left=True)


def test_a_model_without_a_batch_dimension_may_spell_out_a_one() -> None:
    assert matting_of(matting_config((1, 64, 32, 3), (1, 64, 32), max_batch_size=0)) == ModelInput(32, 64)
    assert matting_of(matting_config((64, 32, 3), (64, 32), max_batch_size=0)) == ModelInput(32, 64)


def test_open_sides_take_the_working_size_of_the_parameters() -> None:
    config = matting_config((-1, -1, 3), (-1, -1), parameters={"matting_fit": "aspect", "matting_size": "640x480"})
    assert matting_of(config) == ModelInput(640, 480, Fit.ASPECT)
    assert matting_of(matting_config((-1, -1, 3), (-1, -1))) == ModelInput(512, 512)


@pytest.mark.parametrize(
    "config",
    [
        matting_config(image_type=mc.TYPE_FP32),
        matting_config((320, 320), (320, 320)),
        matting_config((320, 320, 4)),
        matting_config(alpha=(160, 160)),
        matting_config((1, 320, 320, 3), (1, 320, 320)),
        matting_config(parameters={"matting_fit": "squeeze"}),
        matting_config(parameters={"matting_fit_multiple": "many"}),
        echo_config(),
    ],
    ids=["float", "no channels", "four channels", "other size", "leading one and batching", "fit", "multiple", "names"],
)
def test_other_interfaces_are_no_matting_models(config: mc.ModelConfig) -> None:
    assert matting_of(config) is None


def test_instances_are_counted_by_device() -> None:
    config = matting_config(parameters={"matting_engine": "openvino", "matting_precision": "bf16"})
    config.instance_group.add(count=2, kind=mc.ModelInstanceGroup.KIND_GPU, gpus=[0, 1])
    config.instance_group.add(count=3, kind=mc.ModelInstanceGroup.KIND_CPU)
    contract = read_contract("a:1", ["1"], config)
    assert contract.instances == (
        ModelInstance("a:1", "gpu:0", "openvino", "bf16", 2),
        ModelInstance("a:1", "gpu:1", "openvino", "bf16", 2),
        ModelInstance("a:1", "cpu", "openvino", "bf16", 3),
    )
    assert instance_count(contract) == 7
    assert instance_count(read_contract("a:1", ["1"], echo_config())) == 1


def test_versions_are_sorted_as_numbers_newest_first() -> None:
    assert newest_first(["9", "10", "1"]) == ("10", "9", "1")


def test_decoupled_stateful_and_optional_are_told() -> None:
    config = echo_config()
    config.model_transaction_policy.decoupled = True
    config.sequence_batching.SetInParent()
    config.input[0].optional = True
    contract = read_contract("a:1", ["1"], config)
    assert contract.decoupled
    assert contract.stateful
    assert contract.optional_inputs == {"x"}


def test_merging_keeps_the_newest_terms_and_all_instances_and_versions() -> None:
    old, new = read_contract("a:1", ["1"], echo_config(width=3)), read_contract("b:1", ["2"], echo_config(width=5))
    merged = merge([old, new])
    assert merged.inputs == (TensorSpec("x", "UINT8", (5,)),)
    assert merged.versions == ("2", "1")
    assert [instance.backend for instance in merged.instances] == ["a:1", "b:1"]


def contract() -> ModelContract:
    return read_contract("a:1", ["2", "1"], echo_config(width=-1))


@pytest.mark.parametrize(
    ("key", "accepted"),
    [
        (BatchKey("echo", "", (TensorSpec("x", "UINT8", (7,)),)), True),
        (BatchKey("echo", "1", (TensorSpec("x", "UINT8", (7,)),), ("y",)), True),
        (BatchKey("echo", "3", (TensorSpec("x", "UINT8", (7,)),)), False),
        (BatchKey("echo", "", (TensorSpec("x", "FP32", (7,)),)), False),
        (BatchKey("echo", "", (TensorSpec("x", "UINT8", (7, 7)),)), False),
        (BatchKey("echo", "", (TensorSpec("z", "UINT8", (7,)),)), False),
        (BatchKey("echo", "", ()), False),
        (BatchKey("echo", "", (TensorSpec("x", "UINT8", (7,)),), ("z",)), False),
    ],
)
def test_a_key_is_accepted_exactly_if_the_model_takes_it(key: BatchKey, accepted: bool) -> None:
    assert accepts(contract(), key) is accepted


def test_minus_one_fits_any_size_of_the_same_rank() -> None:
    assert fits_shape((5, 2), (-1, 2))
    assert not fits_shape((5,), (-1, 2))
    assert not fits_shape((5, 3), (-1, 2))
