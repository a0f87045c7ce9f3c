# SPDX-License-Identifier: Apache-2.0
"""One ModelInfer, served by what happens to it: a task for each call would cost as much as all the rest of it."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from matting_gateway.admission.gate import Gate
from matting_gateway.admission.permit import Awaiting, Permit
from matting_gateway.admission.tenants import Holding, Tenants
from matting_gateway.batching.entry import Entry
from matting_gateway.clock import Clock
from matting_gateway.domain import Buffer, JobResult
from matting_gateway.errors import GatewayError, TensorInvalidError
from matting_gateway.grpc_server.bare_call import BareCall
from matting_gateway.grpc_server.messages import MessageFault, MessageTooLongError
from matting_gateway.rpc.arrival import Arrival, CallSender
from matting_gateway.rpc.call import Hold
from matting_gateway.rpc.infer_service import InferService
from matting_gateway.rpc.infer_work import Arrived, Queue, Work
from matting_gateway.rpc.passed_on import own_words
from matting_gateway.rpc.promise import COPIES_HELD, DoorSettings, Promise, broken_promise, promise_of
from matting_gateway.rpc.reception import Reception, gave_way
from matting_gateway.rpc.unread import hold_until_read
from matting_gateway.rpc.visit import Visit
from matting_gateway.triton.failures import ModelFailedError


@dataclass(frozen=True, slots=True)
class InferRooms:
    """What all calls share."""

    gate: Gate
    tenants: Tenants
    queue: Queue
    arrival: Arrival
    reception: Reception
    service: InferService
    clock: Clock
    settings: DoorSettings


class InferCall:
    """One call: it waits for memory, is received, waits in the queue, and is answered.

    Owns what the call holds meanwhile. Touched on the event loop only. Invariants: it ends once, by `_answer`,
    `_fail` or `_stop`, and after that nothing is held and nobody will be told anything more; at most one of a
    body being received, a job in the queue and a task is there at a time.
    """

    __slots__ = (
        "_arrived",
        "_awaiting",
        "_call",
        "_context",
        "_deadline_s",
        "_ended",
        "_hold",
        "_holding",
        "_queued",
        "_rooms",
        "_task",
        "_visit",
        "_work",
    )

    def __init__(self, rooms: InferRooms, context: BareCall, visit: Visit) -> None:
        self._rooms = rooms
        self._context = context
        self._visit = visit
        self._call = visit.call
        self._deadline_s = visit.call.deadline_s
        self._hold: Hold | None = None
        self._holding: Holding | None = None
        self._awaiting: Awaiting | None = None  # exactly while the body is being received
        self._task: asyncio.Task[Any] | None = None
        self._arrived: Arrived | None = None
        self._work: Work | None = None
        self._queued: Entry | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<InferCall {self._call!r}{' ended' if self._ended else ''}>"

    # --- its stations -----------------------------------------------------------------------

    def begin(self) -> None:
        """Let the call in, or answer why not."""
        rooms, visit, call = self._rooms, self._visit, self._call
        self._context.begin_without_task(self._stop)
        visit.enter()
        try:
            visit.admit()
            rooms.tenants.charge_request(call.tenant)
            promise = promise_of(call.metadata, rooms.settings)
            sender = CallSender(self._context, call)
            byte_count = promise.message_bytes(promise.request_bytes)
            permit = rooms.gate.try_acquire(byte_count, promised=promise.kept, sender=sender)
            if permit is None:
                self._wait_for(self._permit(promise, sender), functools.partial(self._receive, promise))
            else:
                self._receive(promise, permit)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    async def _permit(self, promise: Promise, sender: CallSender) -> Permit:
        """Wait for memory, once the message has begun to come."""
        rooms = self._rooms
        await rooms.arrival.begun(self._context)
        byte_count = promise.message_bytes(sender.announced_bytes)
        return await rooms.gate.acquire(byte_count, deadline_s=self._deadline_s, promised=promise.kept, sender=sender)

    def _receive(self, promise: Promise, permit: Permit) -> None:
        """Let the body come, in bounded time."""
        rooms = self._rooms
        if self._ended:  # granted in the very instant in which the caller left
            permit.release()
            return
        self._hold = self._call.holding(permit)
        rooms.queue.coming.begin()
        self._awaiting = permit.awaiting(promise.request_bytes, self._give_way)
        rooms.reception.timeouts.begin(self, self._came_too_slowly)
        self._context.expect(promise.request_bytes, self._came)

    def _came(self) -> None:
        """Make a job of the message, or have the model's own server answer it."""
        if self._context.done():  # told so as its call has ended
            return
        self._end_receiving()
        rooms, call = self._rooms, self._call
        service = rooms.service
        try:
            message = self._message()
            arrived = self._arrived = service.arrive(message, call)
            self._holding = rooms.tenants.hold_bytes(call.tenant, len(message))
            self._deadline_s = service.deadline_s(arrived, call, self._deadline_s)
            service.residency.begin(self, self._held_too_long)
            if arrived.only_the_model_understands:
                self._wait_for(service.pass_on(arrived, self._deadline_s), lambda message: self._answer([message]))
            elif arrived.request.takes_long:
                self._wait_for(service.work_beside(arrived, call, self._deadline_s), self._enqueue)
            else:
                self._enqueue(service.work(arrived, call, self._deadline_s))
        except MessageFault:  # the caller has been told
            self._stop()
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    def _enqueue(self, work: Work) -> None:
        """Have the job wait for its batch."""
        if not self._ended:
            self._work = work
            self._queued = self._rooms.queue.enqueue(work.job, self)

    def _message(self) -> Buffer:
        """Return the message, once it has come.

        Raises:
            OptionInvalidError: It is longer than promised.
            TensorInvalidError: There is none.
            MessageFault: It cannot be understood.
        """
        try:
            message = self._context.received()
        except MessageTooLongError as exc:
            raise broken_promise() from exc
        if message is None:
            raise TensorInvalidError("The call ended without a request message.")
        if self._hold is not None:
            self._rooms.reception.took(self._rooms.clock.now() - self._hold.since_s)
            self._hold.permit.shrink(COPIES_HELD * len(message))
        return message

    def _answer(self, pieces: list[Buffer]) -> None:
        if self._ended:
            return
        arrived, hold = self._arrived, self._hold
        permit = None if hold is None else hold.end_keeping()
        self._let_go()
        self._visit.seal()
        self._context.answer(pieces)
        if permit is not None:
            hold_until_read(self._context, permit)
        if arrived is not None:
            self._rooms.service.answered(arrived, self._call, self._deadline_s)
        self._visit.succeeded()
        self._context.let_go()

    # --- who takes the job's result ---------------------------------------------------------

    def done(self) -> bool:
        return self._ended

    def set_result(self, result: JobResult) -> None:
        work = self._work
        if work is None or self._ended:
            return
        try:
            self._answer(self._rooms.service.respond(work, self._call, result))
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    def set_exception(self, error: GatewayError) -> None:
        self._fail(own_words(error) if isinstance(error, ModelFailedError) else error)

    # --- what else can happen ---------------------------------------------------------------

    def _stop(self) -> None:
        """End: the caller has given up, or has been told already why there is no answer."""
        if not self._ended:
            self._note_failure(asyncio.CancelledError())
            self._let_go()
            self._visit.cancelled()
            self._context.let_go()

    def _came_too_slowly(self) -> None:
        self._fail(self._rooms.reception.too_slow())

    def _give_way(self) -> None:
        self._fail(gave_way())

    def _held_too_long(self) -> None:
        self._fail(self._rooms.service.held_too_long())

    def _fail(self, exc: Exception) -> None:
        """Answer why the call failed."""
        if self._ended:
            return
        self._note_failure(exc)
        self._let_go()
        code, text, trailers = self._visit.failed(exc)
        self._context.set_trailing_metadata(trailers)
        self._context.refuse(code, text)
        self._context.let_go()

    def _note_failure(self, exc: BaseException) -> None:
        if self._arrived is not None:
            self._rooms.service.failed(self._arrived, self._call, exc)

    # --- the end ----------------------------------------------------------------------------

    def _end_receiving(self) -> None:
        if self._awaiting is not None:
            self._awaiting.end()
            self._awaiting = None
            self._rooms.queue.coming.end()
            self._rooms.reception.timeouts.end(self)

    def _let_go(self) -> None:
        """Let go of all that the call holds but its answer."""
        self._ended = True
        self._end_receiving()
        self._rooms.service.residency.end(self)
        if self._task is not None:
            self._task.cancel()
        queued, self._queued = self._queued, None
        if queued is not None:
            self._rooms.queue.withdraw(queued)
        if self._holding is not None:
            self._holding.release()
        if self._hold is not None:
            self._hold.end()
        self._arrived = self._work = self._task = None

    def _wait_for(self, work: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        """Have a coroutine's result go on with the call; only what has to wait for others needs a task."""
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
