# SPDX-License-Identifier: Apache-2.0
"""What is known of the call being served; set by the boundary, read by the handlers."""

from contextvars import ContextVar

from matting.v1 import matting_service_pb2 as pb

from matting_gateway.admission.permit import Permit
from matting_gateway.admission.tenants import ANONYMOUS
from matting_gateway.clock import Clock
from matting_gateway.rpc.boundary.status import duration
from matting_gateway.telemetry.logs import clean_request_id
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.traces import Trace

REQUEST_ID_KEY = "x-request-id"
RECEIPT_KEY = "matting-receipt-bin"


class CallInfo:
    """One call, from its arrival to its end.

    Owned by the task that serves it. `deadline_s` is absolute, in seconds of the clock, and
    already leaves room for the answer to travel; `has_deadline` says whether it is the
    caller's own. Items of a stream run in tasks of their own and hold through the same call.
    """

    def __init__(
        self,
        *,
        method: str,
        metadata: dict[str, str | bytes],
        peer: str,
        deadline_s: float,
        has_deadline: bool,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.method = method
        self.metadata = metadata
        self.peer = peer
        given = metadata.get(REQUEST_ID_KEY)
        self.request_id = clean_request_id(given if isinstance(given, str) else None)
        self.deadline_s = deadline_s
        self.has_deadline = has_deadline
        self.started_s = clock.now()
        self.tenant = ANONYMOUS
        # A name that a caller made up is for nobody's log: `model` is set once the model is known.
        self.model = ""
        self.pixel_count = 0
        self.queue_s = 0.0
        self.inference_s = 0.0
        self.held_s = 0.0
        self.trace: Trace | None = None  # set where the call is let in, of those that are traced
        self._holding_count = 0
        self._clock = clock
        self._metrics = metrics

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.request_id}>"

    @property
    def traceparent(self) -> str:
        """What a backend is told of the call's trace; "" where it is not traced."""
        return self.trace.traceparent if self.trace is not None else ""

    def byte_hold(self, permit: Permit) -> "ResidencyHold":
        """Hold an image under a permit from now on, until the hold is ended or its block is left."""
        self._holding_count += 1
        return ResidencyHold(self, permit, self._clock.now())

    def held(self, since_s: float) -> None:
        """Note the end of a hold."""
        self._holding_count -= 1
        held_s = self._clock.now() - since_s
        self.held_s = max(self.held_s, held_s)
        self._metrics.residency_seconds.observe(held_s)

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the request id and the receipt, as the call stands now."""
        receipt = pb.DataReceipt(
            call_id=self.request_id, held_duration=duration(self.held_s), released=not self._holding_count
        )
        return ((REQUEST_ID_KEY, self.request_id), (RECEIPT_KEY, receipt.SerializeToString()))


class ResidencyHold:
    """An image held under a permit since then; ending it twice is harmless."""

    __slots__ = ("_call", "permit", "since_s")

    def __init__(self, call: CallInfo, permit: Permit, since_s: float) -> None:
        self._call: CallInfo | None = call
        self.permit = permit
        self.since_s = since_s

    def end(self) -> None:
        """Release the permit, and record the time."""
        if self._call is not None:
            self.end_keeping()
            self.permit.release()

    def end_keeping(self) -> Permit:
        """Record the time, and return the permit: the image is gone, but what came of it is still there."""
        call, self._call = self._call, None
        if call is not None:
            call.held(self.since_s)
        return self.permit

    def __enter__(self) -> Permit:
        return self.permit

    def __exit__(self, *exc: object) -> None:
        self.end()


_CURRENT: ContextVar[CallInfo] = ContextVar("matting_gateway_call")


def enter_call(call: CallInfo) -> None:
    """Make `call` the current one of the running task."""
    _CURRENT.set(call)


def current_call() -> CallInfo:
    """Return the call that the running task serves."""
    return _CURRENT.get()
