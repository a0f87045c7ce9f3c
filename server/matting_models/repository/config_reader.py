# SPDX-License-Identifier: Apache-2.0
"""Reads `config.pbtxt` back: for `list`, and for `tune` and `quantize`, which change it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import TYPE_UINT8, ModelConfig, ModelInstanceGroup

from matting_models.errors import ConfigBrokenError, EntryNotFoundError
from matting_models.recipes.recipe import ALPHA, IMAGE, Fit
from matting_models.repository.config import TOP_LEFT, Accelerator, EntryConfig, render

_OWN_PARAMETERS = {
    "matting_engine", "matting_fit", "matting_fit_multiple", "matting_license", "matting_noncommercial",
    "matting_precision", "matting_stand_in", "matting_fit_place",
}  # fmt: skip


def read_config(path: Path) -> EntryConfig:
    """The entry that a `config.pbtxt` describes. Fields that only a newer Triton knows are passed over.

    Raises:
        EntryNotFoundError: there is no such file.
        ConfigBrokenError: it does not parse, or does not describe a matting model.
    """
    try:
        return _entry(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise EntryNotFoundError(f"{path} does not exist.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigBrokenError(f"{path} cannot be read: {exc}") from exc
    except text_format.ParseError as exc:
        raise ConfigBrokenError(f"{path}: line {exc.GetLine()}: {str(exc).partition(' : ')[2]}") from exc
    except RecursionError as exc:
        raise ConfigBrokenError(f"{path}: messages are nested too deep") from exc
    except ConfigBrokenError as exc:
        raise ConfigBrokenError(f"{path}: {exc}") from exc


def is_ours(path: Path, config: EntryConfig) -> bool:
    """Whether the file says nothing that `config` does not, so that it may be written anew from it."""
    try:
        present = _parsed(path.read_text(encoding="utf-8"), allow_unknown_field=False)
    except text_format.ParseError:
        return False
    return bool(present == _parsed(render(config)))


def _parsed(text: str, *, allow_unknown_field: bool = True) -> ModelConfig:
    return text_format.Parse(text, ModelConfig(), allow_unknown_field=allow_unknown_field)


def _entry(message: ModelConfig) -> EntryConfig:
    image, alpha = _tensor(message.input, "input", IMAGE), _tensor(message.output, "output", ALPHA)
    dims = list(image.dims)
    row = dims[-3:]
    if len(dims) - (message.max_batch_size == 0) != 3 or row[2] != 3:
        raise ConfigBrokenError(f"input {IMAGE} has the dims {dims}; expected height, width, 3")
    if (image.data_type, alpha.data_type) != (TYPE_UINT8, TYPE_UINT8):
        raise ConfigBrokenError(f"{IMAGE} and {ALPHA} must be TYPE_UINT8")
    parameters = {key: value.string_value for key, value in message.parameters.items()}
    warmup_dims = (tensor.dims for warmup in message.model_warmup for tensor in warmup.inputs.values())
    return EntryConfig(
        name=message.name,
        sides_px=(row[0], row[1]),
        max_batch_size=message.max_batch_size,
        fit=_fit(parameters.get("matting_fit", "stretch")),
        multiple_px=_whole("matting_fit_multiple", parameters.get("matting_fit_multiple", "1")),
        license=parameters.get("matting_license", "unknown"),
        noncommercial=parameters.get("matting_noncommercial", "false") == "true",
        engine=parameters.get("matting_engine", message.backend or message.platform),
        precision=parameters.get("matting_precision", "auto"),
        accelerator=_accelerator(message.optimization.execution_accelerators),
        backend=message.backend or "onnxruntime",
        platform=message.platform,
        on_gpu=any(group.kind == ModelInstanceGroup.KIND_GPU for group in message.instance_group),
        instance_count=sum(group.count or 1 for group in message.instance_group) or 1,
        kept_version_count=message.version_policy.latest.num_versions or 1,
        warmup_batch_sizes=tuple(warmup.batch_size or 1 for warmup in message.model_warmup),
        warmup_sides_px=next(((each[-3], each[-2]) for each in warmup_dims if len(each) >= 3), (row[0], row[1])),
        stand_in=parameters.get("matting_stand_in", ""),
        top_left=parameters.get("matting_fit_place") == TOP_LEFT,
        backend_parameters={key: value for key, value in parameters.items() if not key.startswith("matting_")},
        extra_parameters={
            key: value for key, value in parameters.items() if key.startswith("matting_") and key not in _OWN_PARAMETERS
        },
    )


def _tensor(tensors: Iterable[Any], role: str, name: str) -> Any:
    """The one tensor of a role, a `ModelInput` or `ModelOutput`."""
    found = list(tensors)
    names = [tensor.name for tensor in found]
    if names != [name]:
        raise ConfigBrokenError(f"{role}s are {', '.join(names) or 'missing'}; a matting entry has one, {name}")
    return found[0]


def _accelerator(accelerators: Any) -> Accelerator | None:
    """The first of `ModelOptimizationPolicy.ExecutionAccelerators`."""
    on_gpu, on_cpu = accelerators.gpu_execution_accelerator, accelerators.cpu_execution_accelerator
    for first in (*on_gpu, *on_cpu):
        return Accelerator(first.name, bool(on_gpu), dict(first.parameters))
    return None


def _fit(text: str) -> Fit:
    try:
        return Fit(text)
    except ValueError as exc:
        raise ConfigBrokenError(f"matting_fit is {text!r}; expected {', '.join(fit.value for fit in Fit)}") from exc


def _whole(field: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as exc:
        raise ConfigBrokenError(f"{field} is {text!r}; a whole number expected") from exc
