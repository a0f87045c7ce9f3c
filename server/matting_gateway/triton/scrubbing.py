# SPDX-License-Identifier: Apache-2.0
"""Overwrites what a Triton keeps of the last batches: its pool of tensors, its engine, its connection.

Triton keeps the memory that it takes tensors from, and what lay in it, until later tensors are put
there. A request of zeros as large as a request can be, with the parameter `matting_control: scrub`,
leaves zeros instead; our own backend runs no model for it, any other runs it once.
"""

import asyncio
from collections.abc import Iterable

from matting_gateway.domain import ModelContract
from matting_gateway.errors import GatewayError
from matting_gateway.triton.control import SCRUB, control_request
from matting_gateway.triton.endpoint import Endpoint

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_TIMEOUT_S = 5.0
# As many batches as may be on their way to an instance at once, so that their places are covered too.
_BATCHES_PER_INSTANCE = 2


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
    row_counts = range(max(1, contract.max_batch_size), 0, -1)[:2]
    instance_count = sum(i.instance_count for i in contract.instances if i.backend == endpoint.address.label) or 1
    for row_count in row_counts:
        request = control_request(contract, SCRUB, row_count=row_count)
        if request is None:
            return
        data: bytes = request.SerializeToString()
        calls = (endpoint.forward(_METHOD, data, _TIMEOUT_S) for _ in range(_BATCHES_PER_INSTANCE * instance_count))
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, GatewayError):
                raise result
