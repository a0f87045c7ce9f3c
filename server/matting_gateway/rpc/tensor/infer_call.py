# SPDX-License-Identifier: Apache-2.0
"""One ModelInfer: a unary call that is handled as a request for tensors."""

import asyncio

from grpc_h2.server.bare_call import BareCall
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Permit
from matting_gateway.errors import GatewayError, TensorInvalidError
from matting_gateway.rpc.boundary.call_info import ResidencyHold
from matting_gateway.rpc.boundary.call_scope import CallScope
from matting_gateway.rpc.boundary.promise import COPIES_HELD, Promise
from matting_gateway.rpc.boundary.unary_call import UnaryCall
from matting_gateway.rpc.tensor.inference import InferDependencies, Inference


class InferCall(UnaryCall):
    """One call. Owns the request that comes of it."""

    __slots__ = ("_inference", "_shared")

    _asks_at_once = True
    _borrows = True

    def __init__(self, dependencies: InferDependencies, context: BareCall, scope: CallScope) -> None:
        super().__init__(dependencies.calls, context, scope)
        self._shared = dependencies
        self._inference: Inference | None = None

    def _need_bytes(self, promise: Promise, announced_bytes: int) -> int:
        return promise.message_bytes(announced_bytes)

    def _handle(self, message: Buffer, promise: Promise, hold: ResidencyHold) -> None:
        hold.permit.shrink(COPIES_HELD * len(message))
        arrived = self._shared.service.arrive(message, self._call)
        self._inference = Inference(
            self._shared, self._call, self._deadline_s, self._call.trace, answer=self._answer, fail=self._fail
        )
        self._inference.serve(arrived)

    def _missing(self) -> GatewayError:
        return TensorInvalidError("The call ended without a request message.")

    def _permit_for_answer(self, permit: Permit, pieces: list[Buffer]) -> Permit:
        return permit

    def _receive(self, promise: Promise, permit: Permit) -> None:
        if not self._ended:
            self._shared.queue.coming.begin()
        super()._receive(promise, permit)

    def _end_receiving(self) -> None:
        if self._awaiting is not None:
            self._shared.queue.coming.end()
        super()._end_receiving()

    def _answer(self, pieces: list[Buffer]) -> None:
        self._end_inference(None)
        super()._answer(pieces)

    def _fail(self, exc: Exception) -> None:
        self._end_inference(exc)
        super()._fail(exc)

    def _stop(self) -> None:
        self._end_inference(asyncio.CancelledError())
        super()._stop()

    def _end_inference(self, exc: BaseException | None) -> None:
        inference, self._inference = self._inference, None
        if inference is not None:
            inference.end(exc)
