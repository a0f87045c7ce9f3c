# SPDX-License-Identifier: Apache-2.0
"""One RemoveBackground: a unary call whose message is a photo."""

from collections.abc import Callable, Coroutine
from typing import Any

from grpc_h2.server.bare_call import BareCall
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Permit
from matting_gateway.errors import GatewayError, OptionInvalidError
from matting_gateway.rpc.boundary.call_dependencies import CallDependencies
from matting_gateway.rpc.boundary.call_info import REQUEST_ID_KEY, CallInfo, ResidencyHold
from matting_gateway.rpc.boundary.call_scope import CallScope
from matting_gateway.rpc.boundary.promise import Promise
from matting_gateway.rpc.boundary.unary_call import UnaryCall
from matting_gateway.rpc.photo.photo_wire import PhotoRequest
from matting_gateway.rpc.settings import DoorSettings
from matting_gateway.traces import Trace

# Results begin and end somewhere in pages of the call's file, and what is around them is small.
_AROUND_ANSWER_BYTES = 16 << 10
# Of a call's photo: the call, what was read, the message's bytes, deadline, permit, trace and promise; to the answer.
Serve = Callable[[CallInfo, PhotoRequest, int, float, Permit, Trace | None, Promise], Coroutine[Any, Any, list[Buffer]]]


class PhotoCall(UnaryCall):
    """One call. The photo's way through the workers and the model is a task.

    Args:
        read: Makes a request of the message.
        serve: Makes the answer, in pieces.
    """

    __slots__ = ("_read", "_serve")

    def __init__(
        self,
        dependencies: CallDependencies,
        context: BareCall,
        scope: CallScope,
        *,
        read: Callable[[Buffer], PhotoRequest],
        serve: Serve,
    ) -> None:
        super().__init__(dependencies, context, scope)
        self._read = read
        self._serve = serve

    def _need_bytes(self, promise: Promise, announced_bytes: int) -> int:
        return need_bytes(promise, announced_bytes, self._dependencies.settings)

    def _handle(self, message: Buffer, promise: Promise, hold: ResidencyHold) -> None:
        self._context.set_initial_metadata(((REQUEST_ID_KEY, self._call.request_id),))
        request = self._read(message)
        trace = self._call.trace
        serve = self._serve(self._call, request, len(message), self._deadline_s, hold.permit, trace, promise)
        self._wait_for(serve, self._answer)

    def _missing(self) -> GatewayError:
        return OptionInvalidError("The call ended without a request message.", field="source")

    def _permit_for_answer(self, permit: Permit, pieces: list[Buffer]) -> Permit:
        permit.succeeded()
        return permit.hand_over(sum(map(len, pieces)) + _AROUND_ANSWER_BYTES)


def need_bytes(promise: Promise, announced_bytes: int, settings: DoorSettings) -> int:
    """Return the memory that a photo asks for first, where its message has so many bytes at most.

    Who promised nothing asks for its message, and for the rest once the photo's header is read.
    """
    return promise.byte_count(settings) if promise.kept else promise.message_bytes(announced_bytes)
