# SPDX-License-Identifier: Apache-2.0
"""The story of one request for tensors: from the message as it came to the message that answers it."""

import asyncio
from collections.abc import Mapping

from open_inference.bounded_cache import BoundedCache
from open_inference.client_messages import Place
from open_inference.message_limits import MessageLimits
from open_inference.server_messages import (
    InferHeader,
    InferResponse,
    RequestReader,
    ResponseWriter,
    release,
    with_raw,
)
from open_inference.tensors import Buffer
from open_inference.typed_contents import DamagedContentsError
from tritonclient.grpc import service_pb2

from matting_gateway.admission.tenants import Tenants
from matting_gateway.clock import Clock
from matting_gateway.domain.job import Job, JobResult
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import (
    GatewayError,
    InternalError,
    ModelNotFoundError,
    OptionUnsupportedError,
    ResidencyExceededError,
    TensorInvalidError,
)
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.request_parser import RequestParser
from matting_gateway.rpc.boundary.timeouts import Timeouts
from matting_gateway.rpc.tensor import tensor_limits
from matting_gateway.rpc.tensor.client_memory import ClientMemory
from matting_gateway.rpc.tensor.infer_work import Arrived, Work
from matting_gateway.rpc.tensor.model_statistics import ModelStatistics, RequestTimes
from matting_gateway.rpc.tensor.passed_on import affinity_of, backend_error
from matting_gateway.rpc.tensor.tensor_plan import TensorPlan, gather, plan, unknown_model
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.telemetry.outcomes import outcome_of
from matting_gateway.traces import Trace, passed_on
from matting_gateway.triton.pool.pool import Pool
from matting_gateway.triton.transport.failures import ModelFailedError


class InferService:
    """Answers requests for tensors.

    Owns the plans of repeated headers; touched on the event loop only. Invariant: a plan is used
    only with the very header and contract that it was made of.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        tenants: Tenants,
        memory: ClientMemory,
        statistics: ModelStatistics,
        clock: Clock,
        metrics: Metrics,
        max_residency_s: float,
        limits: MessageLimits,
    ) -> None:
        self._pool = pool
        self._tenants = tenants
        self._memory = memory
        self._statistics = statistics
        self._clock = clock
        self._images = metrics.images
        self.residency = Timeouts(max_residency_s)
        self._reader = RequestReader(RequestParser(service_pb2.ModelInferRequest, limits))
        self._writer = ResponseWriter()
        self._plans = BoundedCache[int, tuple[InferHeader, ModelContract, TensorPlan]]()

    def arrive(self, message: Buffer, call: CallInfo) -> Arrived:
        """Read a request and find its model.

        Raises:
            TensorInvalidError: It is no such message.
            ModelNotFoundError: There is no such model.
            PermissionDeniedError: The tenant may not use it.
            BackendUnavailableError: Nobody can serve it now.
        """
        started_s = self._clock.now()
        try:
            request = self._reader.read(message)
        except DamagedContentsError as exc:
            raise TensorInvalidError(str(exc)) from exc
        header = request.header
        call.model = header.model
        self._tenants.check_model(call.tenant, header.model)
        return Arrived(message, request, self._contract(header), started_s)

    def deadline_s(self, arrived: Arrived, call: CallInfo, deadline_s: float) -> float:
        """Return the deadline of a request: the call's, or its own where that is earlier.

        Raises:
            TensorInvalidError: Its own is none.
            OptionUnsupportedError: The model gives several answers to a request.
        """
        if arrived.contract.decoupled:
            raise OptionUnsupportedError("ModelInfer RPC doesn't support models with decoupled transaction policy")
        own_s = tensor_limits.timeout_s(arrived.request.header)
        if own_s is None:
            return deadline_s
        return min(deadline_s, arrived.started_s + own_s) if call.has_deadline else arrived.started_s + own_s

    def work(self, arrived: Arrived, call: CallInfo, deadline_s: float, trace: Trace | None) -> Work:
        """Return the job that a request amounts to.

        Raises:
            GatewayError: The request is not what the model takes.
        """
        request, tenant = arrived.request, call.tenant.name
        tensor_plan = self._plan(request.header, arrived.contract)
        for place in tensor_plan.places.values():
            self._memory.check(tenant, place)
        try:
            tensors = gather(tensor_plan, request, lambda place: self._memory.read(tenant, place))
        except DamagedContentsError as exc:
            raise TensorInvalidError(str(exc)) from exc
        priority = tensor_limits.priority(request.header)
        job = Job(tensor_plan.key, tensors, tensor_plan.row_count, deadline_s, priority, tenant, trace)
        return Work(arrived, tensor_plan, job, self._clock.now())

    async def work_beside(self, arrived: Arrived, call: CallInfo, deadline_s: float, trace: Trace | None) -> Work:
        """Return what `work` does; typed contents that take long become numbers in a thread.

        Raises:
            GatewayError: The request is not what the model takes.
        """
        if arrived.request.takes_long:
            self._plan(arrived.request.header, arrived.contract)  # which says what is wrong before anything is done
            try:
                request = await asyncio.to_thread(with_raw, arrived.request)
            except DamagedContentsError as exc:
                raise TensorInvalidError(str(exc)) from exc
            arrived = arrived._replace(request=request)
        return self.work(arrived, call, deadline_s, trace)

    def respond(self, work: Work, call: CallInfo, result: JobResult) -> list[Buffer]:
        """Return the response in pieces, and let go of the request.

        Raises:
            GatewayError: The answer does not fit where the caller wants it.
        """
        answered_s = self._clock.now()
        arrived = work.arrived
        release(tensor.data for tensor in work.job.inputs)
        call.queue_s, call.inference_s = result.queue_s, result.inference_s
        pieces = self._pieces(result, arrived.request.header, work.plan.places, call.tenant.name)
        self._statistics.succeeded(
            result.model,
            result.version or arrived.contract.versions[0],
            RequestTimes(
                work.submitted_s - arrived.started_s,
                result.queue_s,
                result.inference_s,
                self._clock.now() - answered_s,
            ),
        )
        return pieces

    def _pieces(self, result: JobResult, header: InferHeader, places: Mapping[str, Place], tenant: str) -> list[Buffer]:
        if not result.outputs:
            raise InternalError("The model gave no output.")
        for output in result.outputs:
            place = places.get(output.name)
            if place is not None:
                self._memory.write(tenant, place, output.data, output.name)
        final = bool(header.parameters.get("triton_enable_empty_final_response", False))
        return self._writer.write(InferResponse(result.model, result.version, header.id, result.outputs, places, final))

    async def pass_on(self, arrived: Arrived, deadline_s: float, trace: Trace | None) -> bytes:
        """Have the model's own server answer, and return the response as it came.

        Raises:
            GatewayError: It failed, or the request cannot be passed on.
        """
        header = arrived.header
        if any(place is not None for place in (*(i.place for i in header.inputs), *(o.place for o in header.outputs))):
            raise OptionUnsupportedError(
                "Requests that are passed on to the model's own server (sequences, parameters of a model's own)"
                " cannot use shared memory; send the tensors in the message."
            )
        try:
            with passed_on(trace, self._clock.now) as traceparent:
                answer = await self._pool.passthrough.forward(
                    "ModelInfer",
                    bytes(arrived.message),
                    model=header.model,
                    timeout_s=deadline_s - self._clock.now(),
                    affinity=affinity_of(header, arrived.contract),
                    traceparent=traceparent,
                )
        except ModelFailedError as exc:
            raise backend_error(exc) from exc
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
        if not any(tensor.typed for tensor in header.inputs):  # or else the header is this request's own
            self._plans[id(header)] = (header, contract, made)
        return made

    def answered(self, arrived: Arrived, call: CallInfo, deadline_s: float) -> None:
        """Count the rows of a request that is answered."""
        self._count(arrived, call, "ok" if self._clock.now() <= deadline_s else "late")

    def failed(self, arrived: Arrived, call: CallInfo, exc: BaseException) -> None:
        """Count the rows of a request by why it is not answered."""
        if isinstance(exc, GatewayError):
            version = arrived.header.version or arrived.contract.versions[0]
            self._statistics.failed(arrived.header.model, version, self._clock.now() - arrived.started_s)
        self._count(arrived, call, outcome_of(exc))

    def held_too_long(self) -> ResidencyExceededError:
        """Return what to tell a caller whose request was held for as long as any may be."""
        return ResidencyExceededError(f"No tensor is held for longer than {self.residency.seconds:g} s.")

    def _count(self, arrived: Arrived, call: CallInfo, outcome: str) -> None:
        header = arrived.request.header
        rows = max(1, header.inputs[0].shape[0]) if header.inputs and header.inputs[0].shape else 1
        self._images.labels(arrived.contract.name, outcome, call.tenant.name).inc(rows)
