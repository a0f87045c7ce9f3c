# SPDX-License-Identifier: Apache-2.0
"""The boundary of every call: who calls, until when, what came of it. Errors become statuses here only."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from matting_gateway.clock import Clock
from matting_gateway.domain import Lifecycle
from matting_gateway.errors import DrainingError, GatewayError, without_frames
from matting_gateway.rpc.call import Call, enter_call, when_sent
from matting_gateway.rpc.status import to_grpc_code, to_status, unexpected
from matting_gateway.telemetry.metrics import Metrics

# A deadline is met when the answer arrives, not when it leaves.
_REPLY_MARGIN_S = 0.005
_REPLY_MARGIN_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended, for the log. `error` is what it failed with, if anything."""

    call: Call
    code: grpc.StatusCode
    error: GatewayError | None
    total_s: float


class CallBoundary(grpc.aio.ServerInterceptor):
    """Wraps every method once; handlers inside only raise GatewayErrors.

    Owns the cache of wrapped handlers and the count of calls in progress. `admit` is asked
    first, with the call and gRPC's context: it raises for callers who are not who they must
    be, and sets `call.tenant`.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        default_deadline_s: float,
        lifecycle: Callable[[], Lifecycle],
        admit: Callable[[Call, grpc.aio.ServicerContext[Any, Any]], None],
        on_end: Callable[[CallEnd], None],
        on_bug: Callable[[Call, Exception], None],
        always_open: Callable[[str], bool],
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._default_deadline_s = default_deadline_s
        self._lifecycle = lifecycle
        self._admit = admit
        self._on_end = on_end
        self._on_bug = on_bug
        self._always_open = always_open
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._series: dict[str, _Series] = {}
        self._call_count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def call_count(self) -> int:
        """Calls in progress, those of services that are always open aside."""
        return self._call_count

    async def wait_idle(self) -> None:
        """Wait until no call is in progress."""
        await self._idle.wait()

    def _count(self, method: str, change: int) -> None:
        if not self._always_open(method):
            self._call_count += change
            self._idle.clear() if self._call_count else self._idle.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # gRPC itself answers UNIMPLEMENTED
                return None
            wrapped = self._wrapped[method] = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        kind = ("stream_" if handler.request_streaming else "unary_") + (
            "stream" if handler.response_streaming else "unary"
        )
        behaviour = getattr(handler, kind)
        _, service, name = method.split("/", 2)
        self._series[method] = _Series(self._metrics, _GRPC_TYPES[kind], service, name)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrap = self._generator if inspect.isasyncgenfunction(behaviour) else self._coroutine
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            wrap(behaviour, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _coroutine(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._boundary(method, context) as boundary:
                boundary.admit()
                result = behaviour(request, context)
                return await result if inspect.isawaitable(result) else result

        return serve

    def _generator(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with self._boundary(method, context) as boundary:
                boundary.admit()
                async for response in behaviour(request, context):
                    yield response

        return serve

    def _begin(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Call:
        remaining_s: float | None = context.time_remaining()
        has_deadline = remaining_s is not None
        if remaining_s is None:
            remaining_s = self._default_deadline_s
        else:
            remaining_s -= min(_REPLY_MARGIN_S, remaining_s * _REPLY_MARGIN_SHARE)
        call = Call(
            method=method,
            metadata={key: value for key, value in context.invocation_metadata() or ()},  # noqa: C416 - pairs of another type
            peer=context.peer(),
            deadline_s=self._clock.now() + remaining_s,
            has_deadline=has_deadline,
            clock=self._clock,
            metrics=self._metrics,
        )
        enter_call(call)
        return call

    def _boundary(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> _Boundary:
        return _Boundary(self, self._series[method], self._begin(method, context), context)

    def enter(self, call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Count a call in. Done means sent: it is in progress until its answer has left."""
        self._count(call.method, 1)
        when_sent(context, lambda: self._count(call.method, -1))

    def admit(self, call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Raise where a call may not go on."""
        self._check_open(call.method)
        self._admit(call, context)

    def translate(self, call: Call, exc: Exception) -> GatewayError:
        """Return what the caller is told of an exception. Other than our own ones are told to the operator only."""
        if isinstance(exc, GatewayError):
            return without_frames(exc)
        self._on_bug(call, exc)
        return without_frames(unexpected(exc))

    def leave(self, call: Call, code: grpc.StatusCode, error: GatewayError | None) -> float:
        """Tell of a call's end; returns the seconds that it took."""
        total_s = self._clock.now() - call.started_s
        self._on_end(CallEnd(call, code, error, total_s))
        return total_s

    def _check_open(self, method: str) -> None:
        if self._lifecycle() is not Lifecycle.SERVING and not self._always_open(method):
            raise DrainingError("The gateway is shutting down or not up yet and takes nothing new; ask another one.")


class _Boundary:
    """One call inside the boundary. A class and no generator: this is on the way of every call."""

    __slots__ = ("_call", "_context", "_owner", "_series")

    def __init__(
        self, owner: CallBoundary, series: _Series, call: Call, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        self._owner = owner
        self._series = series
        self._call = call
        self._context = context

    def admit(self) -> None:
        self._owner.admit(self._call, self._context)

    async def __aenter__(self) -> Self:
        self._series.started.inc()
        self._owner.enter(self._call, self._context)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        code, error = grpc.StatusCode.UNKNOWN, None
        try:
            if exc is None:
                code = _code_of(self._context)
                self._context.set_trailing_metadata(self._call.trailing_metadata())
            elif isinstance(exc, asyncio.CancelledError):
                code = grpc.StatusCode.CANCELLED
            elif isinstance(exc, grpc.aio.AbortError):
                code = _code_of(self._context)
            elif isinstance(exc, Exception):
                error = self._owner.translate(self._call, exc)
                code = to_grpc_code(error)
                await self._abort(error)
        finally:
            self._series.end(code, self._owner.leave(self._call, code, error))

    async def _abort(self, error: GatewayError) -> None:
        details = ("grpc-status-details-bin", to_status(error).SerializeToString())
        await self._context.abort(to_grpc_code(error), error.message, (*self._call.trailing_metadata(), details))


class _Series:
    """The series of one method, bound once."""

    def __init__(self, metrics: Metrics, grpc_type: str, service: str, name: str) -> None:
        self.started = metrics.rpc_started.labels(grpc_type, service, name)
        self._handled = metrics.rpc_handled
        self._seconds = metrics.rpc_seconds.labels(grpc_type, service, name)
        self._labels = (grpc_type, service, name)
        self._by_code: dict[grpc.StatusCode, Any] = {}

    def end(self, code: grpc.StatusCode, total_s: float) -> None:
        handled = self._by_code.get(code)
        if handled is None:
            handled = self._by_code[code] = self._handled.labels(*self._labels, code.name)
        handled.inc()
        self._seconds.observe(total_s)


_GRPC_TYPES = {
    "unary_unary": "unary",
    "stream_unary": "unary",  # wire-unary methods are registered so, to be read only once admitted
    "unary_stream": "server_stream",
    "stream_stream": "bidi_stream",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _code_of(context: grpc.aio.ServicerContext[Any, Any]) -> grpc.StatusCode:
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code or 0, grpc.StatusCode.UNKNOWN)
