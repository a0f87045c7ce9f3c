# SPDX-License-Identifier: Apache-2.0
"""From a call's method to its handler, and from what the handler does to the call's end."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from grpc_h2.server.call import ServerCall
from grpc_h2.server.metadata import Metadata

Handler = grpc.RpcMethodHandler


@dataclass(frozen=True, slots=True)
class CallDetails(grpc.HandlerCallDetails):
    """What interceptors are told of a method."""

    method: str
    invocation_metadata: Metadata


class Dispatch:
    """Serves calls by the handlers that were added.

    Owns the handlers found so far. Interceptors are asked once for each method, and what they
    return serves all its calls. Invariant: a method that nobody handles is not remembered.
    """

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._interceptors = tuple(interceptors)
        self._generic: list[grpc.GenericRpcHandler] = []
        self._found: dict[str, Callable[[ServerCall], Any]] = {}

    def add(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._generic.extend(handlers)

    async def serve(self, call: ServerCall) -> None:
        """Serve one call to its end."""
        try:
            serve = self._found.get(call.head.method) or await self._find(call)
            if serve is None:
                call.finish(code=grpc.StatusCode.UNIMPLEMENTED, details="Method not found!")
            else:
                await serve(call)
        except grpc.aio.AbortError:
            pass  # the status has been sent
        except asyncio.CancelledError:
            call.finish(code=grpc.StatusCode.CANCELLED, details="The call was cancelled.")
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets a status and the server goes on
            # A handler's own boundary has told the operator; what an exception says may quote what a caller sent.
            call.finish(code=grpc.StatusCode.UNKNOWN, details="The call failed.")

    async def _find(self, call: ServerCall) -> Callable[[ServerCall], Any] | None:
        continuation: Callable[..., Any] = self._look_up
        for interceptor in reversed(self._interceptors):
            continuation = functools.partial(interceptor.intercept_service, continuation)
        handler = await continuation(CallDetails(call.head.method, call.head.metadata))
        if handler is None:
            return None
        serve = functools.partial(_serve, handler)
        self._found[call.head.method] = serve
        return serve

    async def _look_up(self, details: grpc.HandlerCallDetails) -> Handler[Any, Any] | None:
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return handler
        return None


class Messages:
    """The messages of a call for handlers that iterate. No generator: one left halfway would need a task to end."""

    def __init__(self, call: ServerCall) -> None:
        self._call = call

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Any:
        message = await self._call.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message


async def only_message(call: ServerCall) -> Any:
    """Return the message of a call that has one.

    Raises:
        grpc.aio.AbortError: There is none; the caller has been told.
    """
    request = await call.read()
    if request is grpc.aio.EOF:
        call.finish(code=grpc.StatusCode.INTERNAL, details="The call ended without a request message.")
        raise grpc.aio.AbortError
    return request


async def _serve(handler: Handler[Any, Any], call: ServerCall) -> None:
    """Serve a call of any of the four kinds; a handler has one function, which grpc's types know of its server only."""
    behaviour: Any = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream
    call.bind(handler)
    request = Messages(call) if handler.request_streaming else await only_message(call)
    if handler.response_streaming:
        await _stream(behaviour(request, call), call)
    else:
        call.finish(await behaviour(request, call), reply=True)


async def _stream(answers: Any, call: ServerCall) -> None:
    """Send what a generator yields, or wait for a coroutine that writes for itself."""
    if inspect.isawaitable(answers):
        await answers
    elif inspect.isasyncgen(answers):
        async with contextlib.aclosing(answers):  # its clean-up belongs to the call
            await _write_all(answers, call)
    else:
        await _write_all(answers, call)
    call.finish()


async def _write_all(answers: AsyncIterable[Any], call: ServerCall) -> None:
    async for answer in answers:
        await call.write(answer)
