# SPDX-License-Identifier: Apache-2.0
"""One request for tensors, served by what happens to it: a task for each would cost as much as all the rest of it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from open_inference.tensors import Buffer

from matting_gateway.admission.gate import Gate
from matting_gateway.admission.tenants import TenantByteHold, Tenants
from matting_gateway.batching.entry import Entry
from matting_gateway.clock import Clock
from matting_gateway.domain.job import JobResult
from matting_gateway.errors import GatewayError
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.message_receiver import MessageReceiver
from matting_gateway.rpc.boundary.promise import DoorSettings
from matting_gateway.rpc.tensor.infer_service import InferService
from matting_gateway.rpc.tensor.infer_work import Arrived, Queue, Work
from matting_gateway.rpc.tensor.passed_on import backend_error
from matting_gateway.traces import Trace
from matting_gateway.triton.transport.failures import ModelFailedError


@dataclass(frozen=True, slots=True)
class InferDependencies:
    """What all requests share."""

    gate: Gate
    tenants: Tenants
    queue: Queue
    receiver: MessageReceiver
    service: InferService
    clock: Clock
    settings: DoorSettings


class Inference(ABC):
    """From a message that has come to its answer; who inherits says where that goes, and what becomes of a failure.

    Owns what the request holds beside its permit. Touched on the event loop only. Invariants: after `_let_go`, which
    comes once, nothing is held and nobody will be told anything more; at most one of a job in the queue and a task
    is there at a time.
    """

    __slots__ = (
        "_arrived",
        "_byte_hold",
        "_call",
        "_deadline_s",
        "_dependencies",
        "_ended",
        "_queued",
        "_task",
        "_work",
    )

    def __init__(self, dependencies: InferDependencies, call: CallInfo, deadline_s: float) -> None:
        self._dependencies = dependencies
        self._call = call
        self._deadline_s = deadline_s
        self._byte_hold: TenantByteHold | None = None
        self._task: asyncio.Task[Any] | None = None
        self._arrived: Arrived | None = None
        self._work: Work | None = None
        self._queued: Entry | None = None
        self._ended = False

    @abstractmethod
    def _answer(self, pieces: list[Buffer]) -> None:
        """Answer, unless it has ended; the pieces look at memory that is wanted elsewhere."""

    @abstractmethod
    def _fail(self, exc: Exception) -> None:
        """Answer why there is no answer, unless it has ended."""

    @property
    def _trace(self) -> Trace | None:
        """What is told of the request's way, if it is traced."""
        return self._call.trace

    # --- its stations -----------------------------------------------------------------------

    def _serve(self, arrived: Arrived) -> None:
        """Make a job of a request, or have the model's own server answer it.

        Raises:
            GatewayError: It is not what the model takes, or the tenant holds too much.
        """
        dependencies, call = self._dependencies, self._call
        service = dependencies.service
        self._arrived = arrived
        self._byte_hold = dependencies.tenants.hold_bytes(call.tenant, len(arrived.message))
        self._deadline_s = service.deadline_s(arrived, call, self._deadline_s)
        service.residency.begin(self, self._held_too_long)
        if arrived.only_the_model_understands:
            self._wait_for(
                service.pass_on(arrived, self._deadline_s, self._trace), lambda message: self._answer([message])
            )
        elif arrived.request.takes_long:
            self._wait_for(service.work_beside(arrived, call, self._deadline_s, self._trace), self._enqueue)
        else:
            self._enqueue(service.work(arrived, call, self._deadline_s, self._trace))

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

    # --- the end ----------------------------------------------------------------------------

    def _held_too_long(self) -> None:
        self._fail(self._dependencies.service.held_too_long())

    def _note_failure(self, exc: BaseException) -> None:
        if self._arrived is not None:
            self._dependencies.service.failed(self._arrived, self._call, exc)

    def _let_go(self) -> None:
        """Let go of all that the request holds beside its permit."""
        self._ended = True
        self._dependencies.service.residency.end(self)
        if self._task is not None:
            self._task.cancel()
        queued, self._queued = self._queued, None
        if queued is not None:
            self._dependencies.queue.withdraw(queued)
        if self._byte_hold is not None:
            self._byte_hold.release()
        self._arrived = self._work = self._task = None

    def _wait_for(self, work: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        """Have a coroutine's result go on with the request; only what has to wait for others needs a task."""
        task = self._task = asyncio.get_running_loop().create_task(work)

        def ended(done: asyncio.Task[Any]) -> None:
            if done.cancelled():
                return
            exc = done.exception()
            self._task = None
            if isinstance(exc, Exception):
                self._fail(exc)
            elif exc is None:
                try:
                    then(done.result())
                except Exception as failure:  # noqa: BLE001 - the boundary: whatever it is becomes a status
                    self._fail(failure)

        task.add_done_callback(ended)
