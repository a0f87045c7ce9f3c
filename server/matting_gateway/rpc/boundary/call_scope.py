# SPDX-License-Identifier: Apache-2.0
"""One call inside the boundary: counted in, admitted, and told of once it has ended."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import grpc
from grpc_h2.server.bare_call import BareCall
from grpc_h2.server.call import ServerCall

from matting_gateway.errors import GatewayError
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.status import pushback, to_grpc_code, to_status
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.telemetry.series import CounterSeries
from matting_gateway.traces import Trace

_NOT_THE_CALLERS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
    }
)
_Trailers = tuple[tuple[str, str | bytes], ...]


class CallEnd(NamedTuple):
    """How a call ended, for the log. `error` is what it failed with, if anything."""

    call: CallInfo
    code: grpc.StatusCode
    error: GatewayError | None
    total_s: float


class Boundary(Protocol):
    """What a call needs of the boundary: it owns what all calls share."""

    def enter(self, context: BareCall) -> None: ...

    def admit(self, call: CallInfo, context: BareCall, *, traced: bool) -> None: ...

    def translate(self, call: CallInfo, exc: Exception) -> GatewayError: ...

    def leave(self, call: CallInfo, code: grpc.StatusCode, error: GatewayError | None) -> float: ...


class MethodSeries:
    """The series of one method, bound once. `counts` says whether its calls are counted among those in progress."""

    def __init__(self, metrics: Metrics, grpc_type: str, service: str, name: str, *, counts: bool) -> None:
        self.counts = counts
        self.started = metrics.rpc_started.labels(grpc_type, service, name)
        self._handled = metrics.rpc_handled
        self._seconds = metrics.rpc_seconds.labels(grpc_type, service, name)
        self._labels = (grpc_type, service, name)
        self._by_code: dict[grpc.StatusCode, CounterSeries] = {}

    def came_and_failed(self) -> tuple[float, float]:
        """Return how many calls came so far, and how many failed for what is not their callers' fault."""
        failed = sum(series.value for code, series in self._by_code.items() if code in _NOT_THE_CALLERS)
        return self.started.value, failed

    def end(self, code: grpc.StatusCode, total_s: float, trace: Trace | None = None) -> None:
        handled = self._by_code.get(code)
        if handled is None:
            handled = self._by_code[code] = self._handled.labels(*self._labels, code.name)
        handled.inc()
        self._seconds.observe(total_s, trace)


class CallScope:
    """The way of one call through the boundary: `enter`, `admit`, and one of the ends.

    A task enters and ends it as a context, and what it raises becomes the status; its call is a `ServerCall`. Who
    serves a call without a task calls the same by hand.
    """

    __slots__ = ("_context", "_owner", "_series", "call")

    def __init__(self, owner: Boundary, series: MethodSeries, call: CallInfo, context: BareCall) -> None:
        self._owner = owner
        self._series = series
        self.call = call
        self._context = context

    def enter(self) -> None:
        self._series.started.inc()
        if self._series.counts:
            self._owner.enter(self._context)

    def admit(self) -> None:
        """Raise where the call may not go on."""
        self._owner.admit(self.call, self._context, traced=self._series.counts)

    def seal(self) -> None:
        """Set what goes with the status of a call that is to be answered, as the call stands now."""
        self._context.set_trailing_metadata(self.call.trailing_metadata())

    def succeeded(self) -> None:
        """End a call whose answer is sealed, or has been sent."""
        self._leave(self._context.code())

    def failed(self, exc: Exception) -> tuple[grpc.StatusCode, str, _Trailers]:
        """End a call that failed, and return its status: code, text, and what goes with it."""
        error = self._owner.translate(self.call, exc)
        code = to_grpc_code(error)
        details = ("grpc-status-details-bin", to_status(error).SerializeToString())
        self._leave(code, error)
        return code, error.message, (*self.call.trailing_metadata(), details, *pushback(error))

    def cancelled(self) -> None:
        """End a call whose caller is gone, or was told already."""
        self._leave(grpc.StatusCode.CANCELLED)

    def _leave(self, code: grpc.StatusCode, error: GatewayError | None = None) -> None:
        self._series.end(code, self._owner.leave(self.call, code, error), self.call.trace)

    async def __aenter__(self) -> Self:
        self.enter()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            self.seal()
            self.succeeded()
        elif isinstance(exc, asyncio.CancelledError):
            self.cancelled()
        elif isinstance(exc, grpc.aio.AbortError):
            self._leave(self._context.code())
        elif isinstance(exc, Exception) and isinstance(self._context, ServerCall):
            await self._context.abort(*self.failed(exc))
        else:
            self._leave(grpc.StatusCode.UNKNOWN)
