# SPDX-License-Identifier: Apache-2.0
"""How one batch gets to a Triton and its answer back: through shared memory, or in the message."""

import asyncio
import functools
from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from grpc_h2.client.caller import UnaryCaller
from grpc_h2.client.status import Failure
from open_inference.client_messages import AnswerReader, InputMessage, OutputRequest, Place, write_request
from open_inference.tensors import Tensor

from matting_gateway.domain.job import Batch, BatchResult
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import BackendContractError, GatewayError
from matting_gateway.triton.settings import PoolSettings, SharedMemoryUse
from matting_gateway.triton.shared_memory.slab import Lease, aligned
from matting_gateway.triton.shared_memory.slabs import SharedMemory
from matting_gateway.triton.transport import failures
from matting_gateway.triton.transport.batch_io import batch_inputs, fixed_outputs, share_out

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
# Below this, telling where the bytes are costs as much as sending them.
_SMALLEST_SHARED_BYTES = 16 << 10


class Exchange:
    """Sends batches through a caller of `INFER_METHOD`.

    Owns the slabs of shared memory, which it registers over the channel, and the memory of answers' headers. A
    batch of several jobs that the model refuses is sent again job by job, so that one job's content never fails its
    neighbours. Invariant: a slab is reused only after the backend has answered the call that used it; a call that is
    given up goes on unobserved until it does, and has the lease.
    """

    def __init__(self, caller: UnaryCaller, channel: grpc.aio.Channel, *, settings: PoolSettings) -> None:
        self._caller = caller
        self._answers = AnswerReader()
        self.memory = SharedMemory(
            channel,
            budget_bytes=settings.shared_memory_bytes if settings.shared_memory is SharedMemoryUse.AUTO else 0,
            scrub=settings.scrub,
            timeout_s=settings.probe_timeout_s,
        )

    async def run(self, batch: Batch, contract: ModelContract, patience_s: float) -> BatchResult:
        """Return the batch's checked answer.

        Raises:
            grpc.aio.AioRpcError: The backend failed it.
            TimeoutError: It did not answer in time.
            BackendContractError: The answer is not what the contract says.
        """
        try:
            return await self._send(batch, contract, patience_s)
        except grpc.aio.AioRpcError as exc:
            if len(batch.jobs) == 1 or not failures.model_failed(exc):
                raise
        return await self._one_by_one(batch, contract, patience_s)

    async def close(self) -> None:
        """Give up the slabs. The caller must have been closed."""
        await self.memory.close()

    async def _one_by_one(self, batch: Batch, contract: ModelContract, patience_s: float) -> BatchResult:
        outputs: list[tuple[Tensor, ...]] = []
        version = ""
        errors: dict[int, GatewayError] = {}
        for index, job in enumerate(batch.jobs):
            try:
                single = Batch(batch.key, (job,), job.row_count, batch.traceparent)
                alone = await self._send(single, contract, patience_s)
            except grpc.aio.AioRpcError as exc:
                if not failures.model_failed(exc):
                    raise
                errors[index] = failures.translate(exc, backend="", model=batch.key.model)
                outputs.append(())
            else:
                outputs.append(alone.outputs[0])
                version = alone.version
        return BatchResult(tuple(outputs), version, errors)

    async def _send(self, batch: Batch, contract: ModelContract, patience_s: float) -> BatchResult:
        inputs = batch_inputs(batch, contract)
        sizes = fixed_outputs(batch, contract)
        input_bytes = sum(aligned(sum(map(len, tensor.chunks))) for tensor in inputs)
        byte_count = input_bytes + sum(map(aligned, sizes.values()))
        lease = await self.memory.lease(byte_count, input_bytes) if byte_count >= _SMALLEST_SHARED_BYTES else None
        if lease is not None:
            try:
                return await self._through_memory(lease, inputs, sizes, batch, contract, patience_s)
            except grpc.aio.AioRpcError as exc:
                if not failures.memory_unknown(exc):
                    raise
                self.memory.forget()
        wanted = [OutputRequest(name) for name in batch.key.outputs]
        request = write_request(batch.key.model, batch.key.version, inputs, wanted)
        message = await self._caller.call(request, max(0.0, patience_s), metadata=_metadata(batch))
        return self._read(message, batch, contract, {})

    async def _through_memory(
        self,
        lease: Lease,
        inputs: list[InputMessage],
        sizes: Mapping[str, int],
        batch: Batch,
        contract: ModelContract,
        patience_s: float,
    ) -> BatchResult:
        region, view = lease.slab.region, lease.view
        placed_inputs = []
        for tensor in inputs:
            start = end = lease.place(sum(map(len, tensor.chunks)))
            for chunk in tensor.chunks:
                view[end : end + len(chunk)] = chunk
                end += len(chunk)
            placed_inputs.append(
                InputMessage(tensor.name, tensor.datatype, tensor.shape, place=Place(region, start, end - start))
            )
        places = {name: Place(region, lease.place(size), size) for name, size in sizes.items()}
        names = batch.key.outputs or tuple(spec.name for spec in contract.outputs)
        wanted = [OutputRequest(name, places.get(name)) for name in names]
        request = write_request(batch.key.model, batch.key.version, placed_inputs, wanted)
        lease.slab.void = True
        call = self._caller.begin(request, on_end=functools.partial(_settle, lease), metadata=_metadata(batch))
        async with asyncio.timeout(max(0.0, patience_s)):
            message = await call.answer()
        placed = {
            name: view[place.offset_bytes : place.offset_bytes + place.length_bytes] for name, place in places.items()
        }
        return self._read(message, batch, contract, placed)

    def _read(
        self, message: bytearray, batch: Batch, contract: ModelContract, placed: Mapping[str, memoryview]
    ) -> BatchResult:
        try:
            answer = self._answers.read(message)
        except DecodeError as exc:
            raise BackendContractError(
                f"The backend of model {batch.key.model} answered with something that is no inference response."
            ) from exc
        return share_out(answer, batch, contract, placed)


def _metadata(batch: Batch) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"traceparent", batch.traceparent.encode()),) if batch.traceparent else ()


def _settle(lease: Lease, failure: Failure | None) -> None:
    """End a call's use of a slab. Without the backend's own word that it is done, the slab stays void."""
    lease.slab.void = failure is not None and not (failure.answered and failures.model_failed(failure.error()))
