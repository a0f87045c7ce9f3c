# SPDX-License-Identifier: Apache-2.0
"""One ModelInfer: let in, received, served and answered."""

import asyncio
import functools

from grpc_h2.bodies.messages import MessageFault, MessageTooLongError
from grpc_h2.server.bare_call import BareCall
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Awaiting, Permit
from matting_gateway.errors import TensorInvalidError
from matting_gateway.rpc.boundary.call_info import ResidencyHold
from matting_gateway.rpc.boundary.call_scope import CallScope
from matting_gateway.rpc.boundary.call_sender import CallSender
from matting_gateway.rpc.boundary.message_receiver import gave_way
from matting_gateway.rpc.boundary.promise import COPIES_HELD, Promise, broken_promise, promise_of
from matting_gateway.rpc.boundary.unread import hold_until_read
from matting_gateway.rpc.tensor.inference import InferDependencies, Inference


class InferCall(Inference):
    """One call: it waits for memory, is received, waits in the queue, and is answered.

    Owns its permit, and what is received under it. Invariants: it ends once, by `_answer`, `_fail` or `_stop`, and
    after that nothing is held and nobody will be told anything more; the body is received before it is served.
    """

    __slots__ = ("_awaiting", "_context", "_hold", "_scope")

    def __init__(self, dependencies: InferDependencies, context: BareCall, scope: CallScope) -> None:
        super().__init__(dependencies, scope.call, scope.call.deadline_s)
        self._context = context
        self._scope = scope
        self._hold: ResidencyHold | None = None
        self._awaiting: Awaiting | None = None  # exactly while the body is being received

    def __repr__(self) -> str:
        return f"<InferCall {self._call!r}{' ended' if self._ended else ''}>"

    # --- its stations -----------------------------------------------------------------------

    def begin(self) -> None:
        """Let the call in, or answer why not."""
        dependencies, scope, call = self._dependencies, self._scope, self._call
        self._context.begin_without_task(self._stop)
        scope.enter()
        try:
            scope.admit()
            dependencies.tenants.charge_request(call.tenant)
            promise = promise_of(call.metadata, dependencies.settings)
            sender = CallSender(self._context, call)
            byte_count = promise.message_bytes(promise.request_bytes)
            permit = dependencies.gate.try_acquire(byte_count, promised=promise.kept, sender=sender)
            if permit is None:
                dependencies.receiver.timeouts.begin(self, self._came_too_slowly)
                self._context.when_begun(functools.partial(self._begun, promise, sender))
            else:
                self._receive(promise, permit)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

    def _begun(self, promise: Promise, sender: CallSender) -> None:
        """Ask for memory, now that the message has begun to come and its length is known."""
        dependencies = self._dependencies
        dependencies.receiver.timeouts.end(self)
        if self._context.done():  # told so as its call has ended
            return
        gate, byte_count, kept = dependencies.gate, promise.message_bytes(sender.announced_bytes), promise.kept
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
        dependencies = self._dependencies
        if self._ended:  # granted in the very instant in which the caller left
            permit.release()
            return
        self._hold = self._call.byte_hold(permit)
        dependencies.queue.coming.begin()
        self._awaiting = permit.awaiting(promise.request_bytes, self._give_way)
        dependencies.receiver.timeouts.begin(self, self._came_too_slowly)
        self._context.expect(promise.request_bytes, self._came)

    def _came(self) -> None:
        """Serve the message."""
        if self._context.done():  # told so as its call has ended
            return
        self._end_receiving()
        try:
            self._serve(self._dependencies.service.arrive(self._message(), self._call))
        except MessageFault:  # the caller has been told
            self._stop()
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is becomes a status
            self._fail(exc)

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
            self._dependencies.receiver.took(self._hold.since_s, self._dependencies.clock.now(), self._call.trace)
            self._hold.permit.shrink(COPIES_HELD * len(message))
        return message

    def _answer(self, pieces: list[Buffer]) -> None:
        if self._ended:
            return
        arrived, hold = self._arrived, self._hold
        permit = None if hold is None else hold.end_keeping()
        self._let_go()
        self._scope.seal()
        self._context.answer(pieces)
        if permit is not None:
            hold_until_read(self._context, permit)
        if arrived is not None:
            self._dependencies.service.answered(arrived, self._call, self._deadline_s)
        self._scope.succeeded()
        self._context.let_go()

    # --- what else can happen ---------------------------------------------------------------

    def _stop(self) -> None:
        """End: the caller has given up, or has been told already why there is no answer."""
        if not self._ended:
            self._note_failure(asyncio.CancelledError())
            self._let_go()
            self._scope.cancelled()
            self._context.let_go()

    def _came_too_slowly(self) -> None:
        self._fail(self._dependencies.receiver.too_slow())

    def _give_way(self) -> None:
        self._fail(gave_way())

    def _fail(self, exc: Exception) -> None:
        """Answer why the call failed."""
        if self._ended:
            return
        self._note_failure(exc)
        self._let_go()
        code, text, trailers = self._scope.failed(exc)
        self._context.set_trailing_metadata(trailers)
        self._context.refuse(code, text)
        self._context.let_go()

    # --- the end ----------------------------------------------------------------------------

    def _end_receiving(self) -> None:
        self._dependencies.receiver.timeouts.end(self)
        if self._awaiting is not None:
            self._awaiting.end()
            self._awaiting = None
            self._dependencies.queue.coming.end()

    def _let_go(self) -> None:
        """Let go of all that the call holds but its answer."""
        self._end_receiving()
        super()._let_go()
        if self._hold is not None:
            self._hold.end()
