# SPDX-License-Identifier: Apache-2.0
"""Writes `config.pbtxt`, the description of an entry that Triton and the gateway read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matting_models.recipes.recipe import Fit

# Asks OpenVINO to compute the images of a batch side by side, each by itself: fixed shapes, which it fuses best.
SIDE_BY_SIDE = {"PERFORMANCE_HINT": "THROUGHPUT"}

# Where a letterboxed photo lies (`matting_fit_place`), unless in the middle.
TOP_LEFT = "top-left"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """An execution accelerator of the onnxruntime backend: its name and parameters, for the CPU or a GPU."""

    name: str
    on_gpu: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntryConfig:
    """All that `config.pbtxt` says of an entry.

    `sides_px` is (height, width), -1 where free. `top_left` see `Recipe`. `max_batch_size` 0 writes the batch dimension
    of 1 into the shapes, which is what Triton wants of a model that takes single images only. `warmup_batch_sizes` are
    run before the entry counts as ready.
    """

    name: str
    sides_px: tuple[int, int]
    max_batch_size: int
    fit: Fit
    multiple_px: int
    license: str
    noncommercial: bool
    engine: str
    precision: str
    accelerator: Accelerator | None
    backend: str = "onnxruntime"
    platform: str = ""
    on_gpu: bool = False
    instance_count: int = 1
    kept_version_count: int = 2
    warmup_batch_sizes: tuple[int, ...] = ()
    warmup_sides_px: tuple[int, int] = (0, 0)
    stand_in: str = ""
    top_left: bool = False
    backend_parameters: Mapping[str, str] = field(default_factory=dict)
    extra_parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def interface(self) -> tuple[object, ...]:
        """What all versions of an entry share: sides, fit, and whether it takes batches."""
        place = "top left" if self.top_left else "middle"
        return (self.sides_px, self.fit.value, place, self.multiple_px, "batches" if self.max_batch_size else "single")

    @property
    def working_sides_px(self) -> tuple[int, int]:
        """(height, width) to try and warm it with."""
        return self.warmup_sides_px if -1 in self.sides_px else self.sides_px

    def parameters(self) -> dict[str, str]:
        """The `parameters` of the entry, all of them strings."""
        entries = {
            "matting_engine": self.engine,
            "matting_fit": self.fit.value,
            "matting_fit_multiple": str(self.multiple_px),
            "matting_license": self.license,
            "matting_noncommercial": "true" if self.noncommercial else "false",
            "matting_precision": self.precision,
        }
        if self.stand_in:
            entries["matting_stand_in"] = self.stand_in
        if self.top_left:
            entries["matting_fit_place"] = TOP_LEFT
        return {**entries, **self.extra_parameters}


def render(config: EntryConfig) -> str:
    """The text of `config.pbtxt`."""
    batch = [] if config.max_batch_size else [1]
    height, width = config.sides_px
    lines = [
        f"name: {_quoted(config.name)}",
        f"platform: {_quoted(config.platform)}" if config.platform else f"backend: {_quoted(config.backend)}",
        f"max_batch_size: {config.max_batch_size}",
        _tensor("input", "image", [*batch, height, width, 3]),
        _tensor("output", "alpha", [*batch, height, width]),
        *_instances(config),
        *(["dynamic_batching { }"] if config.max_batch_size else []),
        f"version_policy {{ latest {{ num_versions: {config.kept_version_count} }} }}",
        *_optimization(config),
        *(_warmup(config, size) for size in config.warmup_batch_sizes),
        *(
            _parameter(key, value)
            for key, value in sorted({**config.parameters(), **config.backend_parameters}.items())
        ),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _tensor(role: str, name: str, dims: Sequence[int]) -> str:
    return f"{role} [\n  {{ name: {_quoted(name)} data_type: TYPE_UINT8 dims: {list(dims)} }}\n]"


def _instances(config: EntryConfig) -> list[str]:
    kind = "KIND_GPU" if config.on_gpu else "KIND_CPU"
    return [f"instance_group [\n  {{ count: {config.instance_count} kind: {kind} }}\n]"]


def _optimization(config: EntryConfig) -> list[str]:
    accelerator = config.accelerator
    if accelerator is None:
        return []
    place = "gpu_execution_accelerator" if accelerator.on_gpu else "cpu_execution_accelerator"
    parameters = [
        f"        parameters {{ key: {_quoted(key)} value: {_quoted(value)} }}"
        for key, value in sorted(accelerator.parameters.items())
    ]
    return [
        "optimization {",
        "  execution_accelerators {",
        f"    {place}: [",
        "      {",
        f"        name: {_quoted(accelerator.name)}",
        *parameters,
        "      }",
        "    ]",
        "  }",
        "}",
    ]


def _warmup(config: EntryConfig, batch_size: int) -> str:
    height, width = config.working_sides_px
    dims = [height, width, 3] if config.max_batch_size else [1, height, width, 3]
    return (
        "model_warmup [\n"
        f"  {{\n    name: {_quoted(f'batch of {batch_size}')}\n    batch_size: {batch_size}\n"
        f'    inputs {{ key: "image" value {{ data_type: TYPE_UINT8 dims: {dims} random_data: true }} }}\n  }}\n]'
    )


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
