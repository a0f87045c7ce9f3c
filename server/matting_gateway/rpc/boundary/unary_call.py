# SPDX-License-Identifier: Apache-2.0
"""One unary call of any service: let in, received in bounded time, handled, and answered.

A body of which little has come holds what has come, not the most that it could be: only those that are whole, or of
which much is there, wait in the line for memory. Who sends slowly is not before those who have sent.
"""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from grpc_h2.bodies.messages import MessageFault, MessageTooLongError
from grpc_h2.server.bare_call import BareCall
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Awaiting, Permit
from matting_gateway.errors import GatewayError
from matting_gateway.rpc.boundary.call_dependencies import CallDependencies
from matting_gateway.rpc.boundary.call_info import ResidencyHold
from matting_gateway.rpc.boundary.call_scope import CallScope
from matting_gateway.rpc.boundary.call_sender import CallSender
from matting_gateway.rpc.boundary.promise import (
    Promise,
    broken_promise,
    came_too_slowly,
    gave_way,
    promise_of,
)
from matting_gateway.rpc.boundary.unread import hold_until_read

_T = TypeVar("_T")


class UnaryCall(ABC):
    """One call: it waits for memory, is received, handled and answered. Who inherits supplies `_handle`.

    A task is there only while something has to be waited for that tells in no other way. Owns the permit, what is
    received under it, and that task. Touched on the event loop only. Invariants: it ends once, by `_answer`, `_fail`
    or `_stop`; what it holds is let go of then, and where a task still works on it, as soon as that has ended; the
    body is received before it is handled.
    """

    __slots__ = (
        "_awaiting", "_call", "_context", "_deadline_s", "_dependencies", "_ended", "_hold",
        "_promise", "_scope", "_task",
    )  # fmt: skip

    # Whether memory for the longest message is asked for before anything of it has come, which saves most a step.
    _asks_at_once: ClassVar[bool] = False
    # Whether pieces of answers are in memory that is wanted elsewhere.
    _borrows: ClassVar[bool] = False

    def __init__(self, dependencies: CallDependencies, context: BareCall, scope: CallScope) -> None:
        self._dependencies = dependencies
        self._context = context
        self._scope = scope
        self._call = scope.call
        self._deadline_s = scope.call.deadline_s
        self._promise: Promise | None = None
        self._hold: ResidencyHold | None = None
        self._awaiting: Awaiting | None = None  # exactly while the body is being received
        self._task: asyncio.Task[Any] | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._call!r}{' ended' if self._ended else ''}>"

    # --- what a service supplies --------------------------------------------------------------

    @abstractmethod
    def _handle(self, message: Buffer, promise: Promise, hold: ResidencyHold) -> None:
        """Have `_answer` or `_fail` called with what becomes of the message, unless the call ends before.

        Raises:
            GatewayError: What the call fails with.
        """

    @abstractmethod
    def _need_bytes(self, promise: Promise, announced_bytes: int) -> int:
        """Return the memory to ask for, where the message has so many bytes at most."""

    @abstractmethod
    def _missing(self) -> GatewayError:
        """Return what a call fails with that ends without a message."""

    @abstractmethod
    def _permit_for_answer(self, permit: Permit, pieces: list[Buffer]) -> Permit:
        """Return what is held for an answer until it has been read."""

    # --- its stations -----------------------------------------------------------------------

    def begin(self) -> None:
        """Let the call in, or answer why not."""
        dependencies, scope, call = self._dependencies, self._scope, self._call
        self._context.begin_without_task(self._stop)
        scope.enter()
        try:
            scope.admit()
            dependencies.tenants.charge_request(call.tenant)
            promise = self._promise = promise_of(call.metadata, dependencies.settings)
            sender = CallSender(self._context, call)
            permit = None
            if self._asks_at_once:
                byte_count = self._need_bytes(promise, promise.request_bytes)
                permit = dependencies.gate.try_acquire(byte_count, promised=promise.kept, sender=sender)
            if permit is None:
                dependencies.receiving.begin(self, self._came_too_slowly)
                self._context.when_begun(functools.partial(self._begun, promise, sender))
            else:
                self._receive(promise, permit)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    def _begun(self, promise: Promise, sender: CallSender) -> None:
        """Ask for memory, now that the message has begun to come and its length is known."""
        dependencies = self._dependencies
        dependencies.receiving.end(self)
        if self._context.done():  # told so as its call has ended
            return
        gate, byte_count, kept = dependencies.gate, self._need_bytes(promise, sender.announced_bytes), promise.kept
        receive = functools.partial(self._receive, promise)
        try:
            permit = gate.try_acquire(byte_count, promised=kept, sender=sender)
            if permit is not None:
                receive(permit)
            else:
                self._wait_for(
                    gate.acquire(byte_count, deadline_s=self._deadline_s, promised=kept, sender=sender), receive
                )
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    def _receive(self, promise: Promise, permit: Permit) -> None:
        """Let the body come, in bounded time."""
        if self._ended:  # granted in the very instant in which the caller left
            permit.release()
            return
        self._hold = self._call.byte_hold(permit)
        self._awaiting = permit.awaiting(promise.request_bytes, self._give_way)
        self._dependencies.receiving.begin(self, self._came_too_slowly)
        self._context.expect(promise.request_bytes, self._came)

    def _came(self) -> None:
        """Handle the message."""
        hold, promise = self._hold, self._promise
        if self._context.done() or hold is None or promise is None:  # told so as its call has ended
            return
        self._end_receiving()
        try:
            self._handle(self._message(hold), promise, hold)
        except MessageFault:  # the caller has been told
            self._stop()
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    def _message(self, hold: ResidencyHold) -> Buffer:
        """Return the message, once it has come.

        Raises:
            GatewayError: It is longer than promised, or there is none.
            MessageFault: It cannot be understood.
        """
        try:
            message = self._context.received()
        except MessageTooLongError as exc:
            raise broken_promise() from exc
        if message is None:
            raise self._missing()
        now_s, trace = self._dependencies.clock.now(), self._call.trace
        self._dependencies.receive_seconds.observe(now_s - hold.since_s, trace)
        if trace is not None:
            trace.stage("receive", hold.since_s, now_s)
        return message

    def _answer(self, pieces: list[Buffer]) -> None:
        """Answer, unless it has ended."""
        hold = self._hold
        if self._ended or hold is None:
            return
        permit = self._permit_for_answer(hold.end_keeping(), pieces)
        self._let_go()
        self._scope.seal()
        self._context.answer(pieces, borrowed=self._borrows)
        hold_until_read(self._context, permit)
        self._scope.succeeded()
        self._context.let_go()

    # --- what else can happen ---------------------------------------------------------------

    def _stop(self) -> None:
        """End: the caller has given up, or has been told already why there is no answer."""
        if self._ended:
            return
        task = self._task
        if task is None or not task.cancel():
            self._left()
        else:  # what it holds is not free before it has ended
            self._ended = True
            self._end_receiving()
            task.add_done_callback(lambda _: self._left())

    def _left(self) -> None:
        self._let_go()
        self._scope.cancelled()
        self._context.let_go()

    def _came_too_slowly(self) -> None:
        self._fail(came_too_slowly(self._dependencies.receiving.seconds))

    def _give_way(self) -> None:
        self._fail(gave_way())

    def _fail(self, exc: Exception) -> None:
        """Answer why the call failed, unless it has ended."""
        if self._ended:
            return
        self._let_go()
        code, text, trailers = self._scope.failed(exc)
        self._context.set_trailing_metadata(trailers)
        self._context.refuse(code, text)
        self._context.let_go()

    # --- the end ----------------------------------------------------------------------------

    def _end_receiving(self) -> None:
        self._dependencies.receiving.end(self)
        if self._awaiting is not None:
            self._awaiting.end()
            self._awaiting = None

    def _let_go(self) -> None:
        """Let go of all that the call holds but its answer."""
        self._ended = True
        self._end_receiving()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._hold is not None:
            self._hold.end()

    def _wait_for(self, work: Coroutine[Any, Any, _T], then: Callable[[_T], None]) -> None:
        """Have a coroutine's result go on with the call."""

        def go_on(result: _T) -> None:
            self._task = None
            then(result)

        self._task = run_then(work, go_on, self._fail)


def run_then(
    work: Coroutine[Any, Any, _T], then: Callable[[_T], None], fail: Callable[[Exception], None]
) -> asyncio.Task[_T]:
    """Have a coroutine run in a task, and its result, or what it or `then` raised, told; nothing where it is cancelled.

    Only what has to wait for others needs a task.
    """

    def ended(done: asyncio.Task[_T]) -> None:
        if done.cancelled():
            return
        exc = done.exception()
        if isinstance(exc, Exception):
            fail(exc)
        elif exc is None:
            try:
                then(done.result())
            except Exception as failure:  # noqa: BLE001 - the boundary: whatever it is becomes a status
                fail(failure)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task
