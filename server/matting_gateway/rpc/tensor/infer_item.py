# SPDX-License-Identifier: Apache-2.0
"""One request of a stream for tensors: it fails alone, and its answer waits for those before it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from open_inference import wire
from open_inference.server_messages import join_and_release
from open_inference.tensors import Buffer
from tritonclient.grpc import service_pb2

from matting_gateway.admission.permit import Permit
from matting_gateway.errors import GatewayError
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.status import unexpected
from matting_gateway.rpc.tensor.infer_work import Arrived
from matting_gateway.rpc.tensor.inference import InferDependencies, Inference

_RESPONSE_FIELD = service_pb2.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER


class InferItem:
    """One item: from its message to an answer that may be written.

    Owns its request, its permit, and the answer until it is taken. Invariant: it is told of once, when there is
    an answer.

    Args:
        permit: What is held until the answer has been written.
        on_answer: Told that there is one.
        send_behind: Has the model's own server answer the stream, where only the model understands its requests.
    """

    __slots__ = (
        "_began_s", "_call", "_dependencies", "_hold", "_inference", "_on_answer", "_request_id",
        "_send_behind", "_trace", "answer",
    )  # fmt: skip

    def __init__(
        self,
        dependencies: InferDependencies,
        call: CallInfo,
        deadline_s: float,
        permit: Permit,
        *,
        on_answer: Callable[["InferItem"], None],
        send_behind: Callable[[Arrived], Coroutine[Any, Any, None]],
    ) -> None:
        self._dependencies = dependencies
        self._call = call
        self._hold = call.byte_hold(permit)
        self._on_answer = on_answer
        self._send_behind = send_behind
        self._request_id = ""
        self._trace = call.trace.item() if call.trace is not None else None
        self._inference = Inference(dependencies, call, deadline_s, self._trace, answer=self._give, fail=self._fail)
        self._began_s = dependencies.calls.clock.now()
        self.answer: list[Buffer] | None = None  # empty where a stream behind answers

    @property
    def permit(self) -> Permit:
        return self._hold.permit

    def begin(self, message: Buffer) -> None:
        """Serve the message, or have an answer that says why not."""
        try:
            self._dependencies.calls.tenants.charge_request(self._call.tenant)
            arrived = self._dependencies.service.arrive(message, self._call)
            self._request_id = arrived.header.id
            if arrived.contract.decoupled or arrived.only_the_model_understands:
                self._inference.wait_for(self._send_behind(arrived), lambda _: self._answer_is([]))
            else:
                self._inference.serve(arrived)
        except Exception as exc:  # noqa: BLE001 - an item fails alone
            self._fail(exc)

    def keep(self) -> None:
        """Put the answer, if it has not been taken, in memory of its own."""
        if self.answer:
            self.answer = [join_and_release(self.answer)]

    def take_answer(self) -> list[Buffer]:
        answer, self.answer = self.answer or [], None
        return answer

    def stop(self) -> None:
        """End it, as the stream does."""
        if not self._inference.done():
            self._inference.end(asyncio.CancelledError())
            self._end_trace("CANCELLED")
        self.end()

    def end(self) -> None:
        """Let go of the permit: the answer has been written, or nobody waits for it."""
        self.answer = None
        self._hold.end()

    def _give(self, pieces: list[Buffer]) -> None:
        if not self._inference.done():
            self._answer_is([wire.head(_RESPONSE_FIELD, sum(map(len, pieces))), *pieces])

    def _fail(self, exc: Exception) -> None:
        if self._inference.done():
            return
        self._inference.end(exc)
        if not isinstance(exc, GatewayError):
            self._dependencies.calls.on_bug(self._call, exc)
            exc = unexpected(exc)
        self._answer_is(error_answer(exc.message, self._request_id), exc.code.name)

    def _end_trace(self, error_type: str) -> None:
        if self._trace is not None:
            self._trace.end(self._began_s, self._dependencies.calls.clock.now(), error_type=error_type)

    def _answer_is(self, pieces: list[Buffer], error_type: str = "") -> None:
        self._inference.end(None)
        self._end_trace(error_type)
        self.answer = pieces
        self._on_answer(self)


def error_answer(text: str, request_id: str) -> list[Buffer]:
    """Return the message that tells of a failure within a stream."""
    response = service_pb2.ModelStreamInferResponse(error_message=text)
    if request_id:
        response.infer_response.id = request_id
    return [response.SerializeToString()]
