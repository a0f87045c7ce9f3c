# SPDX-License-Identifier: Apache-2.0
"""From what a Triton says of a model to what the gateway needs to know of it. Pure.

Source: Triton's `model_config.proto` and the model repository extension.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from open_inference.tensors import TensorSpec
from tritonclient.grpc import model_config_pb2

from matting_gateway.domain.job import BatchKey
from matting_gateway.domain.model import Fit, ModelContract, ModelInput, ModelInstance
from matting_gateway.triton.discovery.control import Described

MATTING_INPUT = "image"
MATTING_OUTPUT = "alpha"
_PIXEL_DATATYPE = "UINT8"
_ANY = -1
_logger = logging.getLogger(__name__)


def read_contract(backend: str, versions: Iterable[str], config: model_config_pb2.ModelConfig) -> ModelContract:
    """Return the contract of a model as one backend serves it; `versions` are those that are ready there."""
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    contract = ModelContract(
        name=config.name,
        versions=newest_first(versions),
        max_batch_size=config.max_batch_size,
        inputs=tuple(TensorSpec(i.name, datatype(i.data_type), tuple(i.dims)) for i in config.input),
        outputs=tuple(TensorSpec(o.name, datatype(o.data_type), tuple(o.dims)) for o in config.output),
        parameters=parameters,
        decoupled=config.model_transaction_policy.decoupled,
        stateful=config.HasField("sequence_batching"),
        matting=None,
        instances=_instances(backend, config, parameters),
        optional_inputs=frozenset(i.name for i in config.input if i.optional),
        response_cache=config.response_cache.enable,
        gpu_wanted=_wants_gpu(config),
    )
    return replace(contract, matting=_matting_input(contract))


def datatype(data_type: int) -> str:
    """Return the protocol's name of a datatype of `model_config.proto`."""
    name: str = model_config_pb2.DataType.Name(data_type).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """Sort versions, which are numbers in Triton, from newest to oldest."""
    return tuple(sorted(versions, key=lambda v: (int(v) if v.isdecimal() else -1, v), reverse=True))


def merge(contracts: Sequence[ModelContract]) -> ModelContract:
    """Return one model's contract over several backends: the newest version's terms, everybody's instances."""
    newest = max(contracts, key=lambda c: int(c.versions[0]) if c.versions and c.versions[0].isdecimal() else -1)
    return replace(
        newest,
        versions=newest_first({version for contract in contracts for version in contract.versions}),
        instances=tuple(instance for contract in contracts for instance in contract.instances),
    )


def accepts(contract: ModelContract, key: BatchKey) -> bool:
    """Whether the model takes a batch of this key: version, names, datatypes and shapes."""
    if key.version and key.version not in contract.versions:
        return False
    specs = {spec.name: spec for spec in contract.inputs}
    if specs.keys() - contract.optional_inputs - {given.name for given in key.inputs}:
        return False
    return all(
        (spec := specs.get(given.name)) is not None
        and given.datatype == spec.datatype
        and fits_shape(given.shape, spec.shape)
        for given in key.inputs
    ) and set(key.outputs) <= {spec.name for spec in contract.outputs}


def fits_shape(shape: Sequence[int], declared: Sequence[int]) -> bool:
    """Whether a shape is one that was declared, where -1 stands for any size."""
    return len(shape) == len(declared) and all(
        size == wanted or wanted == _ANY for size, wanted in zip(shape, declared, strict=True)
    )


def instance_count(contract: ModelContract) -> int:
    """Return how many batches of a model are computed at the same time."""
    return max(1, sum(instance.instance_count for instance in contract.instances))


def as_described(contract: ModelContract, described: Described) -> ModelContract:
    """Return the contract with what its backend says really serves it in place of what it was asked for."""

    def as_told(asked: ModelInstance) -> ModelInstance:
        # Which of several GPUs it is, only the configuration knows.
        device = asked.device if asked.device.startswith(described.device) else described.device
        return replace(asked, device=device, engine=described.engine, precision=described.precision)

    return replace(contract, instances=tuple(map(as_told, contract.instances)))


def gpu_unused(contract: ModelContract) -> bool:
    """Whether a GPU is asked for, and a backend serves the model on its CPU."""
    return contract.gpu_wanted and any(instance.device == "cpu" for instance in contract.instances)


def _wants_gpu(config: model_config_pb2.ModelConfig) -> bool:
    kinds = {group.kind for group in config.instance_group}
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    return model_config_pb2.ModelInstanceGroup.KIND_GPU in kinds or len(accelerators) > 0


def _instances(
    backend: str, config: model_config_pb2.ModelConfig, parameters: Mapping[str, str]
) -> tuple[ModelInstance, ...]:
    engine = parameters.get("matting_engine") or config.backend or config.platform
    precision = parameters.get("matting_precision", "")
    groups = []
    for group in config.instance_group:
        if group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU:
            groups += [ModelInstance(backend, f"gpu:{gpu}", engine, precision, group.count) for gpu in group.gpus]
        else:
            kind = model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind).removeprefix("KIND_").lower()
            groups.append(ModelInstance(backend, kind, engine, precision, max(1, group.count)))
    return tuple(groups) or (ModelInstance(backend, "auto", engine, precision, 1),)


def _matting_input(contract: ModelContract) -> ModelInput | None:
    """Return how photos are brought to this model, or None where it is no matting model."""
    inputs = [spec for spec in contract.inputs if spec.name == MATTING_INPUT]
    outputs = [spec for spec in contract.outputs if spec.name == MATTING_OUTPUT]
    if len(contract.inputs) != 1 or not inputs or not outputs or contract.decoupled or contract.stateful:
        return None
    if {inputs[0].datatype, outputs[0].datatype} != {_PIXEL_DATATYPE}:
        return None
    image, alpha = (
        _row_shape(spec.shape, contract.max_batch_size, rank) for spec, rank in ((inputs[0], 3), (outputs[0], 2))
    )
    if len(image) != 3 or len(alpha) != 2 or image[2] not in (3, _ANY):
        return None
    if not fits_shape(alpha, image[:2]) and not fits_shape(image[:2], alpha):
        return None
    try:
        return _model_input(image, contract.parameters)
    except ValueError:
        _logger.warning("model %s: matting_fit, matting_fit_multiple or matting_size is not usable", contract.name)
        return None


def _model_input(image: Sequence[int], parameters: Mapping[str, str]) -> ModelInput:
    open_width, open_height = _open_size(parameters)
    return ModelInput(
        width_px=image[1] if image[1] != _ANY else open_width,
        height_px=image[0] if image[0] != _ANY else open_height,
        fit=Fit(parameters.get("matting_fit", "stretch")),
        multiple_px=max(1, int(parameters.get("matting_fit_multiple", "1"))),
        top_left=parameters.get("matting_fit_place") == "top-left",
    )


def _open_size(parameters: Mapping[str, str]) -> tuple[int, int]:
    """Return the working size of a model whose sides are open: `matting_size` as `512` or `640x480`."""
    width, _, height = parameters.get("matting_size", "512").partition("x")
    return int(width), int(height or width)


def _row_shape(shape: Sequence[int], max_batch_size: int, rank: int) -> tuple[int, ...]:
    """Return a shape without the leading 1 of a model that has its batch dimension inside."""
    if max_batch_size == 0 and len(shape) == rank + 1 and shape[0] in (1, _ANY):
        return tuple(shape[1:])
    return tuple(shape)
