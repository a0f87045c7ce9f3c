# SPDX-License-Identifier: Apache-2.0
"""What a model's `config.pbtxt` asks of the backend, read from the JSON that Triton hands over.

The words are those of Triton's native onnxruntime backend, so that one `config.pbtxt` serves both.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_MODEL_FILE = "model.onnx"
# Left to the engine.
AUTO = 0
# `parameters` that begin so are handed to onnxruntime's session as they are.
_SESSION_PREFIX = "session."


class SettingsError(Exception):
    """The configuration asks for something that cannot be had."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """An entry of `optimization.execution_accelerators`: a name and its parameters, passed on as they are."""

    name: str
    on_gpu: bool
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the model's contract."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the backend needs to know of one model.

    Attributes:
        intra_op_threads: Threads within an operator; `AUTO` for the engine's choice.
        graph_level: onnxruntime's optimisation level as Triton numbers it (-1 basic, 1 extended, 2 off), None for all.
        session_entries: Passed to onnxruntime's session as they are.
        arena_shrinkage: Devices whose arena is given back after each run, such as `cpu:0`.
    """

    model_file: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    accelerators: tuple[Accelerator, ...] = ()
    intra_op_threads: int = AUTO
    inter_op_threads: int = AUTO
    parallel: bool = False
    graph_level: int | None = None
    use_arena: bool = True
    use_memory_pattern: bool = True
    arena_shrinkage: str = ""
    session_entries: Mapping[str, str] = field(default_factory=dict)


def read_settings(model_config: str, *, cpu_count: int | None = None) -> Settings:
    """Read Triton's JSON of a model configuration.

    Several instances on the CPU share its cores: where no thread count is given, each gets its part.

    Args:
        model_config: `args["model_config"]` of a Python model.
        cpu_count: Cores to share; those this process may use if None.

    Raises:
        SettingsError: A value that cannot be honoured.
    """
    config = json.loads(model_config)
    parameters = {key: str(value["string_value"]) for key, value in config.get("parameters", {}).items()}
    instance_count = sum(group.get("count", 1) for group in config.get("instance_group", ()))
    cores = len(os.sched_getaffinity(0)) if cpu_count is None else cpu_count
    shared = max(1, cores // instance_count) if instance_count > 1 else AUTO
    optimization = config.get("optimization", {})
    level = optimization.get("graph", {}).get("level")
    return Settings(
        model_file=config.get("default_model_filename") or DEFAULT_MODEL_FILE,
        max_batch_size=int(config.get("max_batch_size", 0)),
        inputs=_tensors(config["input"]),
        outputs=_tensors(config["output"]),
        accelerators=_accelerators(optimization.get("execution_accelerators", {})),
        intra_op_threads=_integer(parameters, "intra_op_thread_count") or shared,
        inter_op_threads=_integer(parameters, "inter_op_thread_count"),
        parallel=_flag(parameters, "execution_mode", default=False),
        graph_level=None if level is None else int(level),
        use_arena=_flag(parameters, "enable_mem_arena", default=True),
        use_memory_pattern=_flag(parameters, "enable_mem_pattern", default=True),
        arena_shrinkage=parameters.get("memory.enable_memory_arena_shrinkage", ""),
        session_entries={key: value for key, value in parameters.items() if key.startswith(_SESSION_PREFIX)},
    )


def _tensors(described: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(tensor["name"], tensor["data_type"], tuple(map(int, tensor["dims"]))) for tensor in described)


def _accelerators(described: dict[str, Any]) -> tuple[Accelerator, ...]:
    places = (("gpu_execution_accelerator", True), ("cpu_execution_accelerator", False))
    return tuple(
        Accelerator(entry["name"], on_gpu, dict(entry.get("parameters", {})))
        for place, on_gpu in places
        for entry in described.get(place, ())
    )


def _integer(parameters: Mapping[str, str], name: str) -> int:
    text = parameters.get(name, "0")
    if not text.isdecimal():
        raise SettingsError(f"parameter {name} is {text!r}; a number from 0 (the engine's choice) is expected")
    return int(text)


def _flag(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = parameters.get(name, "1" if default else "0")
    if text not in ("0", "1"):
        raise SettingsError(f"parameter {name} is {text!r}; 0 or 1 is expected")
    return text == "1"
