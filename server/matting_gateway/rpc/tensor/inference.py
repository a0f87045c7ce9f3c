# SPDX-License-Identifier: Apache-2.0
"""One request for tensors, served by what happens to it: a task for each would cost as much as all the rest of it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from open_inference.tensors import Buffer

from matting_gateway.admission.tenants import TenantByteHold
from matting_gateway.batching.entry import Entry
from matting_gateway.domain.job import JobResult
from matting_gateway.errors import GatewayError
from matting_gateway.rpc.boundary.call_dependencies import CallDependencies
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.unary_call import run_then
from matting_gateway.rpc.tensor.infer_service import InferService
from matting_gateway.rpc.tensor.infer_work import Arrived, Queue, Work
from matting_gateway.rpc.tensor.passed_on import backend_error
from matting_gateway.traces import Trace
from matting_gateway.triton.transport.failures import ModelFailedError


@dataclass(frozen=True, slots=True)
class InferDependencies:
    """What all requests share, beside what all calls do."""

    calls: CallDependencies
    queue: Queue
    service: InferService


class Inference:
    """From a message that has come to its answer.

    Owns what the request holds beside its permit. Touched on the event loop only. Invariants: it ends once, by
    `end`, which whoever is told of the answer or the failure calls; after that nothing is held and
    nobody is told anything more; at most one of a job in the queue and a task is there at a time.

    Args:
        trace: Told of the request's way, if it is traced.
        answer: Given the message that answers, in pieces that look at memory that is wanted elsewhere.
        fail: Given why there is none.
    """

    __slots__ = (
        "_answer", "_arrived", "_byte_hold", "_call", "_deadline_s", "_dependencies", "_ended", "_fail", "_queued",
        "_task", "_trace", "_work",
    )  # fmt: skip

    def __init__(
        self,
        dependencies: InferDependencies,
        call: CallInfo,
        deadline_s: float,
        trace: Trace | None,
        *,
        answer: Callable[[list[Buffer]], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._dependencies = dependencies
        self._call = call
        self._deadline_s = deadline_s
        self._trace = trace
        self._answer = answer
        self._fail = fail
        self._byte_hold: TenantByteHold | None = None
        self._task: asyncio.Task[Any] | None = None
        self._arrived: Arrived | None = None
        self._work: Work | None = None
        self._queued: Entry | None = None
        self._ended = False

    # --- its stations -----------------------------------------------------------------------

    def serve(self, arrived: Arrived) -> None:
        """Make a job of a request, or have the model's own server answer it.

        Raises:
            GatewayError: It is not what the model takes, or the tenant holds too much.
        """
        dependencies, call = self._dependencies, self._call
        service = dependencies.service
        self._arrived = arrived
        self._byte_hold = dependencies.calls.tenants.hold_bytes(call.tenant, len(arrived.message))
        self._deadline_s = service.deadline_s(arrived, call, self._deadline_s)
        service.residency.begin(self, self._held_too_long)
        if arrived.only_the_model_understands:
            self.wait_for(
                service.pass_on(arrived, self._deadline_s, self._trace), lambda message: self._answer([message])
            )
        elif arrived.request.takes_long:
            self.wait_for(service.work_beside(arrived, call, self._deadline_s, self._trace), self._enqueue)
        else:
            self._enqueue(service.work(arrived, call, self._deadline_s, self._trace))

    def wait_for(self, work: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        """Have a coroutine's result go on with the request."""
        self._task = run_then(work, then, self._fail)

    def _enqueue(self, work: Work) -> None:
        """Have the job wait for its batch."""
        if not self._ended:
            self._work = work
            self._queued = self._dependencies.queue.enqueue(work.job, self)

    # --- who takes the job's result ---------------------------------------------------------

    def done(self) -> bool:
        return self._ended

    def set_result(self, result: JobResult) -> None:
        work = self._work
        if work is None or self._ended:
            return
        try:
            self._answer(self._dependencies.service.respond(work, self._call, result))
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    def set_exception(self, error: GatewayError) -> None:
        self._fail(backend_error(error) if isinstance(error, ModelFailedError) else error)

    def _held_too_long(self) -> None:
        self._fail(self._dependencies.service.held_too_long())

    # --- the end ----------------------------------------------------------------------------

    def end(self, exc: BaseException | None) -> None:
        """Count the request as answered, or by why it is not, and let go of it; without effect once it has ended."""
        arrived, service = self._arrived, self._dependencies.service
        if arrived is not None:
            if exc is None:
                service.answered(arrived, self._call, self._deadline_s)
            else:
                service.failed(arrived, self._call, exc)
        self._ended = True
        service.residency.end(self)
        if self._task is not None:
            self._task.cancel()
        queued, self._queued = self._queued, None
        if queued is not None:
            self._dependencies.queue.withdraw(queued)
        if self._byte_hold is not None:
            self._byte_hold.release()
        self._arrived = self._work = self._task = None
        self._answer = self._fail = _nobody  # or else the two would keep each other


def _nobody(_told: object) -> None:
    """Be told what became of a request that has ended."""
