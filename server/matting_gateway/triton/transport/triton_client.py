# SPDX-License-Identifier: Apache-2.0
"""One client of a Triton, and everything that goes over it. Batches go through shared memory, or in the message."""

import asyncio
import functools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Self

import grpc
from google.protobuf.message import DecodeError
from grpc_h2.client.caller import UnaryCaller
from grpc_h2.client.status import Failure
from open_inference.client_messages import AnswerReader, InputMessage, OutputRequest, Place, write_request
from open_inference.tensors import Tensor

from matting_gateway.domain.job import Batch, BatchResult
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import BackendContractError, GatewayError
from matting_gateway.reloading.client_tls import ClientIdentity
from matting_gateway.triton.discovery.discovery import Discoverer, Discovery, NotATritonError
from matting_gateway.triton.settings import PoolSettings, SharedMemoryUse
from matting_gateway.triton.shared_memory.slab import Lease, aligned
from matting_gateway.triton.shared_memory.slabs import SharedMemory
from matting_gateway.triton.transport import failures
from matting_gateway.triton.transport.addresses import Address
from matting_gateway.triton.transport.batch_io import batch_inputs, fixed_outputs, share_out
from matting_gateway.triton.transport.contact import Finding, find_out

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
# Below this, telling where the bytes are costs as much as sending them.
_SMALLEST_SHARED_BYTES = 16 << 10
UNWELL = "look at its log; it is asked again until it answers"
_NOT_A_TRITON = "name the gRPC port of a Triton, which is 8001 unless told otherwise"


class TritonClient:
    """A client of one Triton, with the credentials in force when it was made, which are its `identity`.

    Batches go through a caller of `INFER_METHOD`, everything else through a channel. Owns both, the slabs of shared
    memory, and the count of calls. A batch of several jobs that the model refuses is sent again job by job, so that
    one job's content never fails its neighbours. Invariant: a slab is reused only after the backend has answered the
    call that used it; a call that is given up goes on unobserved until it does, and has the lease.
    """

    def __init__(self, address: Address, settings: PoolSettings) -> None:
        self.identity = settings.tls.value() if settings.tls is not None else None
        context = self.identity.context if self.identity is not None else None
        self.channel = _open_channel(address, settings, self.identity)
        self._caller = UnaryCaller(
            address.target,
            INFER_METHOD,
            max_message_bytes=settings.max_message_bytes,
            connect_timeout_s=settings.probe_timeout_s,
            tls=context,
            server_name=address.server_name,
        )
        self._answers = AnswerReader()
        self.memory = SharedMemory(
            self.channel,
            budget_bytes=settings.shared_memory_bytes if settings.shared_memory is SharedMemoryUse.AUTO else 0,
            scrub=settings.scrub,
            timeout_s=settings.probe_timeout_s,
        )
        self._discoverer = Discoverer(self.channel, address.label, settings)
        self._find_out = functools.partial(
            find_out, address.target, context, address.server_name, settings.probe_timeout_s
        )
        self._call_count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def retire(self) -> None:
        """Close as soon as the last call has ended."""
        try:
            await self._idle.wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close now; calls in progress fail."""
        await self._caller.close()
        await self.memory.close()
        await self.channel.close()

    def __repr__(self) -> str:
        return f"<TritonClient {self._call_count} calls>"

    async def look(self, known: Discovery | None, *, afresh: bool = False) -> Discovery | Finding:
        """Return what the Triton serves now (see `Discoverer.look`), or what is wrong."""
        try:
            return await self._discoverer.look(known, afresh=afresh)
        except NotATritonError as exc:
            return Finding(str(exc), _NOT_A_TRITON)
        except grpc.aio.AioRpcError as exc:
            return await self._find_out() or Finding(failures.describe(exc), UNWELL)

    @contextmanager
    def in_use(self) -> Iterator[Self]:
        """Count a call within the block: the client outlives it."""
        self._call_count += 1
        self._idle.clear()
        try:
            yield self
        finally:
            self._call_count -= 1
            if self._call_count == 0:
                self._idle.set()

    async def forward(self, method: str, request: bytes, timeout_s: float, traceparent: str) -> bytes:
        """Return the answer to a unary call, as it came.

        Raises:
            grpc.aio.AioRpcError: The backend failed it.
        """
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(method)
        return await call(request, timeout=max(0.0, timeout_s), metadata=_text_metadata(traceparent))

    def open_stream(self, method: str, traceparent: str) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """Open a stream of messages as they come; it counts as a call."""
        streams: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(method)
        stream, use = streams(metadata=_text_metadata(traceparent)), ExitStack()
        use.enter_context(self.in_use())
        stream.add_done_callback(lambda _: use.close())
        return stream

    async def run_batch(self, batch: Batch, contract: ModelContract, patience_s: float) -> BatchResult:
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
            place = Place(region, start, end - start)
            placed_inputs.append(InputMessage(tensor.name, tensor.datatype, tensor.shape, place=place))
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


def _open_channel(address: Address, settings: PoolSettings, identity: ClientIdentity | None) -> grpc.aio.Channel:
    options = [
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # A batch is tried again by the scheduler, which knows the deadlines; never behind its back.
        ("grpc.enable_retries", 0),
        # A Triton that returns is noticed within a second.
        ("grpc.initial_reconnect_backoff_ms", int(1000 * settings.first_retry_s)),
        ("grpc.min_reconnect_backoff_ms", int(1000 * settings.probe_timeout_s)),
        ("grpc.max_reconnect_backoff_ms", int(1000 * settings.longest_retry_s)),
        # Every backend has a connection of its own.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if identity is None:
        return grpc.aio.insecure_channel(address.target, options=options)
    named = [*options, ("grpc.ssl_target_name_override", address.server_name)]
    return grpc.aio.secure_channel(address.target, identity.credentials, options=named)


def _text_metadata(traceparent: str) -> tuple[tuple[str, str], ...] | None:
    """Return the metadata that tell a backend of the trace that a call is part of, if any."""
    return (("traceparent", traceparent),) if traceparent else None


def _metadata(batch: Batch) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"traceparent", batch.traceparent.encode()),) if batch.traceparent else ()


def _settle(lease: Lease, failure: Failure | None) -> None:
    """End a call's use of a slab. Without the backend's own word that it is done, the slab stays void."""
    lease.slab.void = failure is not None and not (failure.answered and failures.model_failed(failure.error()))
