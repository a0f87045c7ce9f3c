# SPDX-License-Identifier: Apache-2.0
"""How one batch gets to a Triton and its answer back."""

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError

from matting_gateway.domain import Batch, BatchResult, ModelContract, Tensor
from matting_gateway.errors import BackendContractError, GatewayError
from matting_gateway.triton import failures
from matting_gateway.triton.batch_io import batch_inputs, share_out
from matting_gateway.triton.infer_messages import AnswerReader, OutputRequest, write_request
from matting_gateway.triton.settings import PoolSettings

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"


class Exchange:
    """Sends batches over one channel.

    Owns the memory of answers' headers. A batch of several jobs that the model refuses is sent
    again job by job, so that one job's content never fails its neighbours.
    """

    def __init__(self, channel: grpc.aio.Channel, *, settings: PoolSettings) -> None:
        self._infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        self._settings = settings
        self._answers = AnswerReader()

    async def run(self, batch: Batch, contract: ModelContract, patience_s: float) -> BatchResult:
        """Return the batch's checked answer.

        Raises:
            grpc.aio.AioRpcError: The backend failed it.
            BackendContractError: The answer is not what the contract says.
        """
        try:
            return await self._send(batch, contract, patience_s)
        except grpc.aio.AioRpcError as exc:
            if len(batch.jobs) == 1 or not failures.model_failed(exc):
                raise
        return await self._one_by_one(batch, contract, patience_s)

    async def _one_by_one(self, batch: Batch, contract: ModelContract, patience_s: float) -> BatchResult:
        outputs: list[tuple[Tensor, ...]] = []
        version = ""
        errors: dict[int, GatewayError] = {}
        for index, job in enumerate(batch.jobs):
            try:
                alone = await self._send(Batch(batch.key, (job,), job.row_count), contract, patience_s)
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
        key = batch.key
        wanted = [OutputRequest(name) for name in key.outputs]
        request = write_request(key.model, key.version, batch_inputs(batch, contract), wanted)
        message = await self._infer(request, timeout=max(0.0, patience_s))
        return self._read(message, batch, contract, {})

    def _read(
        self, message: bytes, batch: Batch, contract: ModelContract, placed: Mapping[str, memoryview]
    ) -> BatchResult:
        try:
            answer = self._answers.read(message)
        except DecodeError as exc:
            raise BackendContractError(
                f"The backend of model {batch.key.model} answered with something that is no inference response."
            ) from exc
        return share_out(answer, batch, contract, placed)
