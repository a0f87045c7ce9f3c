# SPDX-License-Identifier: Apache-2.0
"""The boundary of every call: who calls, until when, what came of it. Errors become statuses here only."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_h2.server.bare_call import BareCall
from grpc_h2.server.call import ServerCall
from open_inference.message_limits import MessageLimits

from matting_gateway.clock import Clock
from matting_gateway.domain.lifecycle import Lifecycle
from matting_gateway.errors import DrainingError, GatewayError, without_frames
from matting_gateway.rpc.boundary.call_info import CallInfo, enter_call
from matting_gateway.rpc.boundary.call_scope import CallEnd, CallScope, MethodSeries
from matting_gateway.rpc.boundary.request_parser import parser_of
from matting_gateway.rpc.boundary.small_messages import SmallMessages
from matting_gateway.rpc.boundary.status import unexpected
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.tracing.sampler import Sampler

# A deadline is met when the answer arrives, not when it leaves. Nothing else is kept free of it anywhere.
_REPLY_MARGIN_S = 0.008
_REPLY_MARGIN_SHARE = 0.1
TRACEPARENT_KEY = "traceparent"
_GRPC_TYPES = {
    "unary_unary": "unary",
    "stream_unary": "unary",  # photos are registered so, to be read under a permit
    "unary_stream": "server_stream",
    "stream_stream": "bidi_stream",
}
# From a call's messages and its context to what its handler is given of them.
Receive = Callable[[Any, Any], Awaitable[Any]]


class CallBoundary(grpc.aio.ServerInterceptor):
    """Wraps every method once; handlers inside only raise GatewayErrors.

    Owns the cache of wrapped handlers and the count of calls in progress. `admit` is asked
    first, with the call and gRPC's context: it raises for callers who are not who they must
    be, and sets `call.tenant`. Invariant: of no body anything is read before; that is why
    all methods are wrapped as ones that take a stream, and the one message of a unary call is
    read in here. Requests come as bytes, and are made objects here, within `limits`; handlers
    without a deserializer get them as they came. `sampler` says which calls are traced: none without one.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        default_deadline_s: float,
        small_messages: SmallMessages,
        lifecycle: Callable[[], Lifecycle],
        admit: Callable[[CallInfo, BareCall], None],
        on_end: Callable[[CallEnd], None],
        on_bug: Callable[[CallInfo, Exception], None],
        always_open: Callable[[str], bool],
        limits: MessageLimits,
        sampler: Sampler | None = None,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._default_deadline_s = default_deadline_s
        self._small_messages = small_messages
        self._lifecycle = lifecycle
        self._admit = admit
        self._on_end = on_end
        self._on_bug = on_bug
        self._always_open = always_open
        self._limits = limits
        self._sampler = sampler
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._series: dict[str, MethodSeries] = {}
        self._call_count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def call_count(self) -> int:
        """Calls in progress, those of services that are always open aside."""
        return self._call_count

    def came_and_failed(self) -> tuple[float, float]:
        """Return how many calls came so far, and how many failed for what is not their callers' fault.

        Those of services that are always open are not among them.
        """
        each = [series.came_and_failed() for series in self._series.values() if series.counts]
        return sum(came for came, _ in each), sum(failed for _, failed in each)

    async def wait_idle(self) -> None:
        """Wait until no call is in progress."""
        await self._idle.wait()

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
        self._series[method] = self._method_series(method, kind)
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        receive = self._small_messages.all if handler.request_streaming else self._small_messages.only
        wrap = self._generator if inspect.isasyncgenfunction(behaviour) else self._coroutine
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            wrap(self._parsing(behaviour, handler), method, receive),
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _parsing(self, behaviour: Callable[..., Any], handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[..., Any]:
        """Return a behaviour that takes its requests as bytes."""
        if handler.request_deserializer is None:
            return behaviour
        parse = parser_of(handler.request_deserializer, self._limits)
        take: Callable[[Any], Any] = functools.partial(_Parsed, parse) if handler.request_streaming else parse
        return lambda request, context: behaviour(take(request), context)

    def _coroutine(self, behaviour: Callable[..., Any], method: str, receive: Receive) -> Callable[..., Any]:
        async def serve(requests: Any, context: ServerCall) -> Any:
            async with self.scope(method, context) as scope:
                enter_call(scope.call)
                scope.admit()
                result = behaviour(await receive(requests, context), context)
                return await result if inspect.isawaitable(result) else result

        return serve

    def _generator(self, behaviour: Callable[..., Any], method: str, receive: Receive) -> Callable[..., Any]:
        async def serve(requests: Any, context: ServerCall) -> AsyncIterator[Any]:
            async with self.scope(method, context) as scope:
                enter_call(scope.call)
                scope.admit()
                async for response in behaviour(await receive(requests, context), context):
                    yield response

        return serve

    def _begin(self, method: str, context: BareCall) -> CallInfo:
        remaining_s = context.time_remaining()
        has_deadline = remaining_s is not None
        if remaining_s is None:
            remaining_s = self._default_deadline_s
        else:
            remaining_s -= min(_REPLY_MARGIN_S, remaining_s * _REPLY_MARGIN_SHARE)
        return CallInfo(
            method=method,
            metadata=dict(context.invocation_metadata()),
            peer=context.peer(),
            deadline_s=self._clock.now() + remaining_s,
            has_deadline=has_deadline,
            clock=self._clock,
            metrics=self._metrics,
        )

    def _method_series(self, method: str, kind: str) -> MethodSeries:
        _, service, name = method.split("/", 2)
        return MethodSeries(self._metrics, _GRPC_TYPES[kind], service, name, counts=not self._always_open(method))

    def scope(self, method: str, context: BareCall) -> CallScope:
        """Return what leads one call through the boundary. Methods that have no handler here take it themselves."""
        series = self._series.get(method)
        if series is None:
            series = self._series[method] = self._method_series(method, "unary_unary")
        return CallScope(self, series, self._begin(method, context), context)

    def enter(self, context: BareCall) -> None:
        """Count a call in. Done means sent: it is in progress until its answer has left."""
        self._call_count += 1
        self._idle.clear()
        context.add_done_callback(self._left)

    def _left(self, _context: object) -> None:
        self._call_count -= 1
        if not self._call_count:
            self._idle.set()

    def admit(self, call: CallInfo, context: BareCall, *, traced: bool) -> None:
        """Raise where a call may not go on. One that may be traced is, if it is sampled; refused ones too."""
        admitted = False
        try:
            self._check_open(call.method)
            self._admit(call, context)
            admitted = True
        finally:
            if traced and self._sampler is not None:
                call.trace = self._sampler.begin(call.metadata.get(TRACEPARENT_KEY), may_ask=admitted)

    def translate(self, call: CallInfo, exc: Exception) -> GatewayError:
        """Return what the caller is told of an exception. Other than our own ones are told to the operator only."""
        if isinstance(exc, GatewayError):
            return without_frames(exc)
        self._on_bug(call, exc)
        return without_frames(unexpected(exc))

    def leave(self, call: CallInfo, code: grpc.StatusCode, error: GatewayError | None) -> float:
        """Tell of a call's end; returns the seconds that it took."""
        total_s = self._clock.now() - call.started_s
        self._on_end(CallEnd(call, code, error, total_s))
        return total_s

    def _check_open(self, method: str) -> None:
        if self._lifecycle() is not Lifecycle.SERVING and not self._always_open(method):
            raise DrainingError("The gateway is shutting down or not up yet and takes nothing new; ask another one.")


class _Parsed:
    """Requests of a stream, made objects as they are asked for. A generator left halfway would need a task to end."""

    def __init__(self, parse: Callable[[Any], Any], requests: AsyncIterator[Any]) -> None:
        self._parse = parse
        self._requests = requests

    def __aiter__(self) -> _Parsed:
        return self

    async def __anext__(self) -> Any:
        return self._parse(await anext(self._requests))
