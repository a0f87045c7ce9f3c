# SPDX-License-Identifier: Apache-2.0
"""A batch becomes one request, and one answer becomes each job's share of it. Pure."""

from collections.abc import Mapping

from open_inference.client_messages import InferAnswer, InputMessage, OutputHeader
from open_inference.datatypes import split_rows, tensor_bytes
from open_inference.tensors import Tensor

from matting_gateway.domain.job import Batch, BatchResult
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import BackendContractError
from matting_gateway.triton.discovery.contract import fits_shape


def batch_inputs(batch: Batch, contract: ModelContract) -> list[InputMessage]:
    """Return the batch's inputs, the jobs' rows one after the other, as yet uncopied."""
    return [
        InputMessage(
            spec.name,
            spec.datatype,
            (batch.row_count, *spec.shape) if contract.max_batch_size else spec.shape,
            [job.inputs[index].data for job in batch.jobs],
        )
        for index, spec in enumerate(batch.key.inputs)
    ]


def fixed_outputs(batch: Batch, contract: ModelContract) -> dict[str, int]:
    """Return the byte length of each wanted output whose length is known before the answer."""
    sizes = {}
    for spec in contract.outputs:
        if not batch.key.outputs or spec.name in batch.key.outputs:
            shape = (batch.row_count, *spec.shape) if contract.max_batch_size else spec.shape
            byte_count = tensor_bytes(spec.datatype, shape)
            if byte_count is not None:
                sizes[spec.name] = byte_count
    return sizes


def share_out(
    answer: InferAnswer, batch: Batch, contract: ModelContract, placed: Mapping[str, memoryview]
) -> BatchResult:
    """Check an answer against the contract and cut it into each job's views.

    Args:
        answer: What the backend said.
        batch: What it was asked.
        contract: What it promised.
        placed: The contents of outputs that were asked for in shared memory.

    Raises:
        BackendContractError: A datatype, shape, length, row count or name is not as promised.
    """
    wanted = set(batch.key.outputs) or {spec.name for spec in contract.outputs}
    header = answer.header
    got = {output.name for output in header.outputs}
    if wanted - got:
        raise _broken(contract, f"output {min(wanted - got)!r} is missing")
    columns = [
        _cut(output, batch, contract, placed.get(output.name, content))
        for output, content in zip(header.outputs, answer.contents, strict=True)
        if output.name in wanted
    ]
    return BatchResult(tuple(zip(*columns, strict=True)), header.model_version)


def _cut(output: OutputHeader, batch: Batch, contract: ModelContract, data: memoryview) -> list[Tensor]:
    declared = next(spec for spec in contract.outputs if spec.name == output.name)
    if output.datatype != declared.datatype:
        raise _broken(contract, f"output {output.name!r} is {output.datatype}, not {declared.datatype}")
    batched = contract.max_batch_size > 0
    row_shape = output.shape[1:] if batched else output.shape
    if not fits_shape(row_shape, declared.shape) or (batched and output.shape[:1] != (batch.row_count,)):
        expected = [batch.row_count, *declared.shape] if batched else list(declared.shape)
        raise _broken(contract, f"output {output.name!r} has shape {list(output.shape)}, not {expected}")
    shape = output.shape if batched else (1, *output.shape)
    counts = [job.row_count for job in batch.jobs] if batched else [1]
    try:
        parts = split_rows(data, output.datatype, shape, counts)
    except ValueError as exc:
        raise _broken(contract, f"output {output.name!r} of shape {list(output.shape)}: {exc}") from exc
    return [
        Tensor(output.name, output.datatype, (rows, *row_shape) if batched else row_shape, part)
        for rows, part in zip(counts, parts, strict=True)
    ]


def _broken(contract: ModelContract, what: str) -> BackendContractError:
    return BackendContractError(f"The backend of model {contract.name} broke its contract: {what}.")
