# SPDX-License-Identifier: Apache-2.0
"""Overwrites what a Triton keeps of the last batches: its pool of tensors, its engine, its connection.

Triton keeps the memory that it takes tensors from, and what lay in it, until later tensors are put
there. A request of zeros as large as a request can be, with the parameter `matting_control: scrub`,
leaves zeros instead; our own backend runs no model for it, any other runs it once.
"""

import asyncio
import math
from collections.abc import Iterable

from tritonclient.grpc import service_pb2

from matting_gateway.domain import ModelContract, TensorSpec
from matting_gateway.errors import GatewayError
from matting_gateway.triton.endpoint import Endpoint

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_CONTROL, _SCRUB = "matting_control", "scrub"
_TIMEOUT_S = 5.0
# As many batches as may be on their way to an instance at once, so that their places are covered too.
_BATCHES_PER_INSTANCE = 2
_ITEM_BYTES = {"BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, "BF16": 2}
_ITEM_BYTES |= {"UINT32": 4, "INT32": 4, "FP32": 4, "UINT64": 8, "INT64": 8, "FP64": 8}


async def scrub(endpoints: Iterable[Endpoint]) -> None:
    """Overwrite what the backends keep, as far as they let us. One that is away keeps nothing for us."""
    await asyncio.gather(
        *(
            _scrub_model(endpoint, contract)
            for endpoint in endpoints
            if endpoint.healthy
            for contract in endpoint.models.values()
        )
    )


async def _scrub_model(endpoint: Endpoint, contract: ModelContract) -> None:
    # One batch fewer rows as well: a pool that holds batches of one size only in part overlaps what it held before.
    requests = [scrub_request(contract), scrub_request(contract, fewer_rows=1)]
    instance_count = sum(i.instance_count for i in contract.instances if i.backend == endpoint.address.label) or 1
    for request in requests:
        if request is None:
            continue
        calls = (endpoint.forward(_METHOD, request, _TIMEOUT_S) for _ in range(_BATCHES_PER_INSTANCE * instance_count))
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, GatewayError):
                raise result


def scrub_request(contract: ModelContract, *, fewer_rows: int = 0) -> bytes | None:
    """Return the request that overwrites what was a model's, or None for a model that cannot be sent it."""
    if fewer_rows and contract.max_batch_size <= fewer_rows:
        return None
    if contract.decoupled or contract.stateful or any(spec.datatype not in _ITEM_BYTES for spec in contract.inputs):
        return None
    request = service_pb2.ModelInferRequest(model_name=contract.name)
    request.parameters[_CONTROL].string_param = _SCRUB
    for spec in contract.inputs:
        shape = _largest_shape(contract, spec, fewer_rows)
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        request.raw_input_contents.append(bytes(math.prod(shape) * _ITEM_BYTES[spec.datatype]))
    data: bytes = request.SerializeToString()
    return data


def _largest_shape(contract: ModelContract, spec: TensorSpec, fewer_rows: int) -> tuple[int, ...]:
    """Return the shape of the largest request; a side that the model leaves open is that of its matting input."""
    matting = contract.matting
    usual = (matting.height_px, matting.width_px, 3) if matting is not None else ()
    shape = tuple(
        size if size > 0 else usual[axis] if axis < len(usual) and usual[axis] > 0 else 1
        for axis, size in enumerate(spec.shape)
    )
    return (contract.max_batch_size - fewer_rows, *shape) if contract.max_batch_size > 0 else shape
