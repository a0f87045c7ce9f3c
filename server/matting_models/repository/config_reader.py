# SPDX-License-Identifier: Apache-2.0
"""Reads `config.pbtxt` back: for `list`, and for `tune` and `quantize`, which change it."""

from pathlib import Path

from matting_models.errors import ConfigBrokenError, EntryNotFoundError
from matting_models.recipes.recipe import ALPHA, IMAGE, Fit
from matting_models.repository.config import TOP_LEFT, Accelerator, EntryConfig, render
from matting_models.repository.pbtxt import Message, Value, parse

_OWN_PARAMETERS = {
    "matting_engine", "matting_fit", "matting_fit_multiple", "matting_license", "matting_noncommercial",
    "matting_precision", "matting_stand_in", "matting_fit_place",
}  # fmt: skip


def read_config(path: Path) -> EntryConfig:
    """The entry that a `config.pbtxt` describes.

    Raises:
        EntryNotFoundError: there is no such file.
        ConfigBrokenError: it does not parse, or does not describe a matting model.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise EntryNotFoundError(f"{path} does not exist.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigBrokenError(f"{path} cannot be read: {exc}") from exc
    try:
        return _entry(parse(text))
    except ConfigBrokenError as exc:
        raise ConfigBrokenError(f"{path}: {exc}") from exc


def is_ours(path: Path, config: EntryConfig) -> bool:
    """Whether the file says nothing that `config` does not, so that it may be written anew from it."""
    return _canonical(parse(path.read_text(encoding="utf-8"))) == _canonical(parse(render(config)))


def _canonical(message: Message) -> Message:
    return {**message, "parameters": sorted(message.get("parameters", []), key=repr)}


def _entry(message: Message) -> EntryConfig:
    image, alpha = _tensor(message, "input", IMAGE), _tensor(message, "output", ALPHA)
    max_batch_size = _number(message, "max_batch_size", "0")
    dims = [_whole("dims", value) for value in image.get("dims", [])]
    row = dims[-3:]
    if len(dims) - (max_batch_size == 0) != 3 or row[2] != 3:
        raise ConfigBrokenError(f"input {IMAGE} has the dims {dims}; expected height, width, 3")
    if _text(image, "data_type") != "TYPE_UINT8" or _text(alpha, "data_type") != "TYPE_UINT8":
        raise ConfigBrokenError(f"{IMAGE} and {ALPHA} must be TYPE_UINT8")
    parameters = _parameters(message)
    groups = [_message_of(group) for group in message.get("instance_group", [])]
    warmups = [_message_of(warmup) for warmup in message.get("model_warmup", [])]
    return EntryConfig(
        name=_text(message, "name"),
        sides_px=(row[0], row[1]),
        max_batch_size=max_batch_size,
        fit=_fit(parameters.get("matting_fit", "stretch")),
        multiple_px=_whole("matting_fit_multiple", parameters.get("matting_fit_multiple", "1")),
        license=parameters.get("matting_license", "unknown"),
        noncommercial=parameters.get("matting_noncommercial", "false") == "true",
        engine=parameters.get("matting_engine", _text(message, "backend") or _text(message, "platform")),
        precision=parameters.get("matting_precision", "auto"),
        accelerator=_accelerator(message),
        backend=_text(message, "backend") or "onnxruntime",
        platform=_text(message, "platform"),
        on_gpu=any(_text(group, "kind") == "KIND_GPU" for group in groups),
        instance_count=sum(_number(group, "count", "1") for group in groups) or 1,
        kept_version_count=_kept_versions(message),
        warmup_batch_sizes=tuple(_number(warmup, "batch_size", "1") for warmup in warmups),
        warmup_sides_px=_warmup_sides(warmups, (row[0], row[1])),
        stand_in=parameters.get("matting_stand_in", ""),
        top_left=parameters.get("matting_fit_place") == TOP_LEFT,
        backend_parameters={key: value for key, value in parameters.items() if not key.startswith("matting_")},
        extra_parameters={
            key: value for key, value in parameters.items() if key.startswith("matting_") and key not in _OWN_PARAMETERS
        },
    )


def _tensor(message: Message, role: str, name: str) -> Message:
    tensors = [_message_of(value) for value in message.get(role, [])]
    names = [_text(tensor, "name") for tensor in tensors]
    if names != [name]:
        raise ConfigBrokenError(f"{role}s are {', '.join(names) or 'missing'}; a matting entry has one, {name}")
    return tensors[0]


def _parameters(message: Message) -> dict[str, str]:
    entries = [_message_of(value) for value in message.get("parameters", [])]
    return {_text(entry, "key"): _text(_first(entry, "value"), "string_value") for entry in entries}


def _accelerator(message: Message) -> Accelerator | None:
    accelerators = _first(_first(message, "optimization"), "execution_accelerators")
    for place, on_gpu in (("gpu_execution_accelerator", True), ("cpu_execution_accelerator", False)):
        for value in accelerators.get(place, []):
            entry = _message_of(value)
            pairs = [_message_of(pair) for pair in entry.get("parameters", [])]
            return Accelerator(
                _text(entry, "name"), on_gpu, {_text(pair, "key"): _text(pair, "value") for pair in pairs}
            )
    return None


def _kept_versions(message: Message) -> int:
    return _number(_first(_first(message, "version_policy"), "latest"), "num_versions", "1")


def _warmup_sides(warmups: list[Message], sides: tuple[int, int]) -> tuple[int, int]:
    for warmup in warmups:
        dims = [_whole("dims", value) for value in _first(_first(warmup, "inputs"), "value").get("dims", [])]
        if len(dims) >= 3:
            return dims[-3], dims[-2]
    return sides


def _fit(text: str) -> Fit:
    try:
        return Fit(text)
    except ValueError as exc:
        raise ConfigBrokenError(f"matting_fit is {text!r}; expected {', '.join(fit.value for fit in Fit)}") from exc


def _first(message: Message, field: str) -> Message:
    values = message.get(field, [])
    return _message_of(values[0]) if values else {}


def _message_of(value: Value) -> Message:
    if isinstance(value, str):
        raise ConfigBrokenError(f"a message {{ ... }} expected, found {value!r}")
    return value


def _text_of(value: Value) -> str:
    if not isinstance(value, str):
        raise ConfigBrokenError("a plain value expected, found a message")
    return value


def _text(message: Message, field: str) -> str:
    return _text_of(message.get(field, [""])[-1])


def _number(message: Message, field: str, default: str) -> int:
    return _whole(field, message.get(field, [default])[-1])


def _whole(field: str, value: Value) -> int:
    text = _text_of(value)
    if not text.removeprefix("-").isdecimal():
        raise ConfigBrokenError(f"{field} is {text!r}; a whole number expected")
    return int(text)
