# SPDX-License-Identifier: Apache-2.0
"""The backend reads the native backend's words from a model's configuration."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matting_triton
import pytest

_BACKEND = Path(matting_triton.__file__).parent / "backends" / "onnxruntime"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module as Triton's stub finds it: by the backend's folder on the path."""
    monkeypatch.syspath_prepend(str(_BACKEND))
    import onnx_settings  # noqa: PLC0415 -- only found with the path above

    module: ModuleType = onnx_settings
    return module


@pytest.fixture
def engines(settings: ModuleType) -> ModuleType:
    assert settings.__name__ in sys.modules
    import onnx_engines  # noqa: PLC0415 -- only found with the path above

    module: ModuleType = onnx_engines
    return module


def _config(**changes: Any) -> str:
    plain = {
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_UINT8", "dims": ["320", "320", "3"]}],
        "output": [{"name": "alpha", "data_type": "TYPE_UINT8", "dims": [320, 320]}],
        "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
    }
    return json.dumps({**plain, **changes})


def _parameters(**values: str) -> dict[str, dict[str, str]]:
    return {name: {"string_value": value} for name, value in values.items()}


def test_a_plain_configuration_leaves_all_to_the_engine(settings: ModuleType) -> None:
    read = settings.read_settings(_config())
    assert read.model_file == "model.onnx"
    assert read.inputs == (settings.Tensor("image", "TYPE_UINT8", (320, 320, 3)),)
    assert (read.intra_op_threads, read.inter_op_threads, read.accelerators) == (0, 0, ())


def test_the_native_names_of_settings_are_honoured(settings: ModuleType) -> None:
    parameters = _parameters(
        intra_op_thread_count="3",
        inter_op_thread_count="2",
        execution_mode="1",
        enable_mem_arena="0",
        enable_mem_pattern="0",
    ) | {
        "session.dynamic_block_base": {"string_value": "4"},
        "memory.enable_memory_arena_shrinkage": {"string_value": "cpu:0"},
    }
    config = _config(parameters=parameters, default_model_filename="matte.onnx", optimization={"graph": {"level": -1}})
    read = settings.read_settings(config)
    assert (read.intra_op_threads, read.inter_op_threads, read.parallel) == (3, 2, True)
    assert (read.use_arena, read.use_memory_pattern, read.arena_shrinkage) == (False, False, "cpu:0")
    assert read.session_entries == {"session.dynamic_block_base": "4"}
    assert (read.model_file, read.graph_level) == ("matte.onnx", -1)


def test_accelerators_keep_their_place_and_parameters(settings: ModuleType) -> None:
    openvino = {"name": "openvino", "parameters": {"INFERENCE_PRECISION_HINT": "f32"}}
    accelerators = {"cpu_execution_accelerator": [openvino], "gpu_execution_accelerator": [{"name": "tensorrt"}]}
    read = settings.read_settings(_config(optimization={"execution_accelerators": accelerators}))
    assert read.accelerators == (
        settings.Accelerator("tensorrt", True, {}),
        settings.Accelerator("openvino", False, {"INFERENCE_PRECISION_HINT": "f32"}),
    )


@pytest.mark.parametrize(("instances", "threads"), [(1, 0), (2, 4), (3, 2), (16, 1)])
def test_instances_share_the_cores(settings: ModuleType, instances: int, threads: int) -> None:
    groups = [{"count": instances, "kind": "KIND_CPU"}]
    assert settings.read_settings(_config(instance_group=groups), cpu_count=8).intra_op_threads == threads


@pytest.mark.parametrize(
    ("name", "value"),
    [("intra_op_thread_count", "many"), ("intra_op_thread_count", "-1"), ("execution_mode", "2")],
)
def test_a_value_that_cannot_be_honoured_is_refused_by_name(settings: ModuleType, name: str, value: str) -> None:
    with pytest.raises(settings.SettingsError, match=f"{name} is '{value}'"):
        settings.read_settings(_config(parameters=_parameters(**{name: value})))


def test_an_unknown_cpu_accelerator_is_refused(settings: ModuleType, engines: ModuleType) -> None:
    accelerators = {"cpu_execution_accelerator": [{"name": "abacus"}]}
    read = settings.read_settings(_config(optimization={"execution_accelerators": accelerators}))
    with pytest.raises(settings.SettingsError, match="abacus"):
        engines.load_engine(Path("model.onnx"), read, on_gpu=False, device_id=0)


@pytest.mark.parametrize(
    ("name", "message"), [("tensorrt", "TensorrtExecutionProvider.*asked for"), ("warp", "'warp' is unknown")]
)
def test_a_gpu_that_is_not_there_is_no_silent_fallback(
    settings: ModuleType, engines: ModuleType, name: str, message: str
) -> None:
    accelerators = {"gpu_execution_accelerator": [{"name": name, "parameters": {"precision_mode": "FP16"}}]}
    read = settings.read_settings(_config(optimization={"execution_accelerators": accelerators}))
    with pytest.raises(settings.SettingsError, match=message):
        engines.load_engine(Path("model.onnx"), read, on_gpu=True, device_id=0)


@pytest.mark.parametrize(
    ("accelerators", "expected"),
    [
        ([], ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ([("cuda", {"use_tf32": "0"})], ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ([("tensorrt", {})], ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]),
    ],
)
def test_on_a_gpu_the_providers_fall_back_in_the_native_order(
    settings: ModuleType, engines: ModuleType, accelerators: list[tuple[str, dict[str, str]]], expected: list[str]
) -> None:
    wanted = [settings.Accelerator(name, True, parameters) for name, parameters in accelerators]
    chosen = engines.choose_providers(wanted, on_gpu=True, device_id=1)
    assert [name for name, _ in chosen] == expected
    assert chosen[0][1] == {"device_id": "1", **(accelerators[0][1] if accelerators else {})}
