# SPDX-License-Identifier: Apache-2.0
"""The story of one request for tensors: from the message as it came to the message that answers it."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from matting_gateway.admission.tenants import Tenants
from matting_gateway.clock import Clock
from matting_gateway.domain import Buffer, Job, JobResult, ModelContract
from matting_gateway.errors import (
    Code,
    GatewayError,
    InternalError,
    ModelNotFoundError,
    OptionUnsupportedError,
    ResidencyExceededError,
)
from matting_gateway.rpc import tensor_limits
from matting_gateway.rpc.call import Call
from matting_gateway.rpc.client_memory import ClientMemory
from matting_gateway.rpc.infer_wire import (
    InferHeader,
    InferRequest,
    InferResponse,
    RequestReader,
    ResponseWriter,
    release,
)
from matting_gateway.rpc.model_statistics import ModelStatistics, RequestTimes
from matting_gateway.rpc.passed_on import affinity_of, own_words
from matting_gateway.rpc.tensor_plan import TensorPlan, gather, plan, unknown_model
from matting_gateway.rpc.timeouts import Timeouts
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton.failures import ModelFailedError
from matting_gateway.triton.infer_messages import Place
from matting_gateway.triton.pool import Pool

_MAX_PLANS = 256
_OUTCOMES = {
    Code.DEADLINE_EXCEEDED: "dropped",
    Code.RESOURCE_EXHAUSTED: "rejected",
    Code.INVALID_ARGUMENT: "rejected",
    Code.UNIMPLEMENTED: "rejected",
    Code.NOT_FOUND: "rejected",
    Code.PERMISSION_DENIED: "rejected",
}


class Queue(Protocol):
    """The scheduler as the tensor door needs it; `coming` is entered while a body is received."""

    @property
    def coming(self) -> AbstractContextManager[None]: ...

    def submit(self, job: Job) -> asyncio.Future[JobResult]: ...


@dataclass(frozen=True, slots=True, repr=False)
class Arrived:
    """A request read: the message as it came, and what it says."""

    message: Buffer
    request: InferRequest
    contract: ModelContract
    started_s: float

    @property
    def header(self) -> InferHeader:
        return self.request.header

    @property
    def only_the_model_understands(self) -> bool:
        """Whether the request cannot share a batch, and is passed on as it is."""
        header = self.header
        return self.contract.stateful or header.extra or bool(header.parameters.keys() - tensor_limits.UNDERSTOOD)


class InferService:
    """Answers requests for tensors.

    Owns the plans of repeated headers; touched on the event loop only. Invariant: a plan is used
    only with the very header and contract that it was made of.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        queue: Queue,
        tenants: Tenants,
        memory: ClientMemory,
        statistics: ModelStatistics,
        clock: Clock,
        metrics: Metrics,
        max_residency_s: float,
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._tenants = tenants
        self._memory = memory
        self._statistics = statistics
        self._clock = clock
        self._images = metrics.images
        self._residency = Timeouts(max_residency_s)
        self._reader = RequestReader()
        self._writer = ResponseWriter()
        self._plans: dict[int, tuple[InferHeader, ModelContract, TensorPlan]] = {}

    def arrive(self, message: Buffer, call: Call) -> Arrived:
        """Read a request and find its model.

        Raises:
            TensorInvalidError: It is no such message.
            ModelNotFoundError: There is no such model.
            PermissionDeniedError: The tenant may not use it.
            BackendUnavailableError: Nobody can serve it now.
        """
        started_s = self._clock.now()
        request = self._reader.read(message)
        header = request.header
        call.model = header.model
        self._tenants.check_model(call.tenant, header.model)
        return Arrived(message, request, self._contract(header), started_s)

    async def answer(self, arrived: Arrived, call: Call, deadline_s: float) -> list[Buffer]:
        """Return the response in pieces.

        Raises:
            GatewayError: Whatever the caller must be told.
        """
        header = arrived.header
        rows = max(1, header.inputs[0].shape[0]) if header.inputs and header.inputs[0].shape else 1
        with (
            self._outcome(arrived, call, rows, deadline_s),
            self._tenants.hold_bytes(call.tenant, len(arrived.message)),
        ):
            if arrived.contract.decoupled:
                raise OptionUnsupportedError("ModelInfer RPC doesn't support models with decoupled transaction policy")
            own_s = tensor_limits.timeout_s(header)
            if own_s is not None:
                deadline_s = (
                    arrived.started_s + own_s if not call.has_deadline else min(deadline_s, arrived.started_s + own_s)
                )
            try:
                with self._residency.block():
                    if arrived.only_the_model_understands:
                        return [await self._pass_on(arrived, deadline_s)]
                    return await self._batched(arrived, call, deadline_s)
            except TimeoutError as exc:
                text = f"No tensor is held for longer than {self._residency.seconds:g} s."
                raise ResidencyExceededError(text) from exc

    async def _batched(self, arrived: Arrived, call: Call, deadline_s: float) -> list[Buffer]:
        header, tenant = arrived.header, call.tenant.name
        tensor_plan = self._plan(header, arrived.contract)
        for place in tensor_plan.places.values():
            self._memory.check(tenant, place)
        tensors = gather(tensor_plan, arrived.request, lambda place: self._memory.read(tenant, place))
        priority = tensor_limits.priority(header)
        job = Job(tensor_plan.key, tensors, tensor_plan.row_count, deadline_s, priority, tenant)
        submitted_s = self._clock.now()
        try:
            result = await self._queue.submit(job)
        except ModelFailedError as exc:
            raise own_words(exc) from exc
        answered_s = self._clock.now()
        release(tensor.data for tensor in tensors)
        call.queue_s, call.inference_s = result.queue_s, result.inference_s
        pieces = self._respond(result, header, tensor_plan.places, tenant)
        version = result.version or arrived.contract.versions[0]
        times = RequestTimes(
            submitted_s - arrived.started_s, result.queue_s, result.inference_s, self._clock.now() - answered_s
        )
        self._statistics.succeeded(result.model, version, times)
        return pieces

    def _respond(
        self, result: JobResult, header: InferHeader, places: Mapping[str, Place], tenant: str
    ) -> list[Buffer]:
        if not result.outputs:
            raise InternalError("The model gave no output.")
        for output in result.outputs:
            place = places.get(output.name)
            if place is not None:
                self._memory.write(tenant, place, output.data, output.name)
        final = bool(header.parameters.get("triton_enable_empty_final_response", False))
        return self._writer.write(InferResponse(result.model, result.version, header.id, result.outputs, places, final))

    async def _pass_on(self, arrived: Arrived, deadline_s: float) -> bytes:
        header = arrived.header
        if any(place is not None for place in (*(i.place for i in header.inputs), *(o.place for o in header.outputs))):
            raise OptionUnsupportedError(
                "Requests that are passed on to the model's own server (sequences, parameters of a model's own)"
                " cannot use shared memory; send the tensors in the message."
            )
        try:
            answer = await self._pool.passage.forward(
                "ModelInfer",
                bytes(arrived.message),
                model=header.model,
                timeout_s=deadline_s - self._clock.now(),
                affinity=affinity_of(header, arrived.contract),
            )
        except ModelFailedError as exc:
            raise own_words(exc) from exc
        taken_s = self._clock.now() - arrived.started_s
        version = header.version or arrived.contract.versions[0]
        self._statistics.succeeded(header.model, version, RequestTimes(0.0, 0.0, taken_s, 0.0))
        return answer

    def _contract(self, header: InferHeader) -> ModelContract:
        try:
            return self._pool.model(header.model, header.version)
        except ModelNotFoundError as exc:
            raise unknown_model(exc, header.model, header.version, known=self._pool.can_serve(header.model)) from exc

    def _plan(self, header: InferHeader, contract: ModelContract) -> TensorPlan:
        """Return the plan of a header; those of headers that repeat are remembered."""
        known = self._plans.get(id(header))
        if known is not None and known[0] is header and known[1] is contract:
            return known[2]
        made = plan(header, contract)
        if header.message is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[id(header)] = (header, contract, made)
        return made

    @contextmanager
    def _outcome(self, arrived: Arrived, call: Call, rows: int, deadline_s: float) -> Iterator[None]:
        """Count the rows by what becomes of them."""
        outcome = "error"
        try:
            yield
            outcome = "ok" if self._clock.now() <= deadline_s else "late"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except GatewayError as exc:
            outcome = _OUTCOMES.get(exc.code, "error")
            version = arrived.header.version or arrived.contract.versions[0]
            self._statistics.failed(arrived.header.model, version, self._clock.now() - arrived.started_s)
            raise
        finally:
            self._images.labels(arrived.contract.name, outcome, call.tenant.name).inc(rows)
