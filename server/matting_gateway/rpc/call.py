# SPDX-License-Identifier: Apache-2.0
"""What is known of the call being served; set by the boundary, read by the handlers."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from matting.v1 import matting_service_pb2 as pb

from matting_gateway.admission.permit import Permit
from matting_gateway.admission.tenants import ANONYMOUS
from matting_gateway.clock import Clock
from matting_gateway.rpc.status import duration
from matting_gateway.telemetry.logs import clean_request_id
from matting_gateway.telemetry.metrics import Metrics

REQUEST_ID_KEY = "x-request-id"
RECEIPT_KEY = "matting-receipt-bin"


class Call:
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
        self._holding_count = 0
        self._clock = clock
        self._metrics = metrics

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.request_id}>"

    @contextlib.contextmanager
    def holding(self, permit: Permit) -> Iterator[Permit]:
        """Hold an image under a permit; on leaving, the permit is released and the time recorded."""
        since_s = self._clock.now()
        self._holding_count += 1
        try:
            with permit:
                yield permit
        finally:
            self._holding_count -= 1
            held_s = self._clock.now() - since_s
            self.held_s = max(self.held_s, held_s)
            self._metrics.residency_seconds.observe(held_s)

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the request id and the receipt, as the call stands now."""
        receipt = pb.DataReceipt(
            call_id=self.request_id, held_duration=duration(self.held_s), released=self._holding_count == 0
        )
        return ((REQUEST_ID_KEY, self.request_id), (RECEIPT_KEY, receipt.SerializeToString()))


_CURRENT: ContextVar[Call] = ContextVar("matting_gateway_call")


def enter_call(call: Call) -> None:
    """Make `call` the current one of the running task."""
    _CURRENT.set(call)


def current_call() -> Call:
    """Return the call that the running task serves."""
    return _CURRENT.get()


def when_sent(context: Any, act: Callable[[], None]) -> None:
    """Run `act` once the answer of gRPC's call has left, or the call has ended otherwise."""
    context.add_done_callback(lambda _context: act())
