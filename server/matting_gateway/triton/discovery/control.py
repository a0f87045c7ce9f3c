# SPDX-License-Identifier: Apache-2.0
"""Requests that our own Triton backend answers without running the model, and what it answers.

The native backend does not know their parameter and runs the model on zeros, which is harmless. Pure.
"""

import json
import math
import re
from dataclasses import dataclass

from open_inference.datatypes import ITEM_SIZE_BYTES
from open_inference.tensors import TensorSpec
from tritonclient.grpc import service_pb2

from matting_gateway.domain.model import ModelContract

_CONTROL = "matting_control"
SCRUB, DESCRIBE = "scrub", "describe"
# What is told becomes a label of a metric: a backend is not believed.
_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,40}")


@dataclass(frozen=True, slots=True)
class Described:
    """What really serves a model; `device` is `cpu` or `gpu`."""

    device: str
    engine: str
    precision: str


def control_request(contract: ModelContract, word: str, *, row_count: int) -> service_pb2.ModelInferRequest | None:
    """Return a request of zeros, as large as a request of so many rows can be; None for a model that cannot be sent it.

    `row_count` counts for models that batch only.
    """
    if contract.decoupled or contract.stateful or any(spec.datatype not in ITEM_SIZE_BYTES for spec in contract.inputs):
        return None
    request = service_pb2.ModelInferRequest(model_name=contract.name)
    request.parameters[_CONTROL].string_param = word
    for spec in contract.inputs:
        shape = _shape(contract, spec, row_count)
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        request.raw_input_contents.append(bytes(math.prod(shape) * ITEM_SIZE_BYTES[spec.datatype]))
    return request


def read_description(response: service_pb2.ModelInferResponse) -> Described | None:
    """Return what a backend said of itself; None where the answer is a model's, or not to be trusted."""
    text = response.raw_output_contents[0].rstrip(b"\0") if response.raw_output_contents else b""
    if not text.startswith(b"{"):
        return None
    try:
        told = json.loads(text)
        names = [str(told[key]) for key in ("device", "engine", "precision")]
    except (ValueError, KeyError):
        return None
    if not all(_NAME.fullmatch(name) for name in names):
        return None
    device, engine, precision = names
    return Described("cpu" if device.upper().startswith("CPU") else "gpu", engine, precision)


def _shape(contract: ModelContract, spec: TensorSpec, row_count: int) -> tuple[int, ...]:
    """Return the largest shape of an input; a side that the model leaves open is that of its matting input."""
    matting = contract.matting
    usual = (matting.height_px, matting.width_px, 3) if matting is not None else ()
    shape = tuple(
        size if size > 0 else usual[axis] if axis < len(usual) and usual[axis] > 0 else 1
        for axis, size in enumerate(spec.shape)
    )
    return (row_count, *shape) if contract.max_batch_size > 0 else shape
