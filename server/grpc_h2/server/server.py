# SPDX-License-Identifier: Apache-2.0
"""The server: its listeners and its connections, from the first to the last."""

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import grpc

from grpc_h2.bodies.recycled_memory import RecycledMemory
from grpc_h2.bodies.unadmitted import Unadmitted
from grpc_h2.bodies.unpacking import Unpacker
from grpc_h2.bodies.windows import Windows
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.protocol import Scratch
from grpc_h2.http2.server_protocol import ServerProtocol
from grpc_h2.http2.wire.errors import FaultKind
from grpc_h2.server.bare_call import BareCall, CallResources
from grpc_h2.server.calls import Calls, refusal
from grpc_h2.server.listener import Listener, bind
from grpc_h2.server.metadata import MetadataTooLargeError
from grpc_h2.server.peer import peer_of
from grpc_h2.server.reading_time import ReadingTime

# How far ages of connections differ by chance: those that began together are not all to come back together (gRFC A9).
_AGE_JITTER = 0.1


# Told of what a peer did wrong: the kind, what it was, and the peer in grpc's words.
OnPeerFault = Callable[[FaultKind, str, str], None]


def unheard(_kind: FaultKind, _text: str, _peer: str) -> None:
    """Stand for whoever would be told."""


class GrpcServer:
    """Serves gRPC on any number of addresses.

    Owns its listeners, connections and calls. Takes handlers as grpc.aio's server
    does, so that what protoc generates can add them. After `stop` nothing of it is left.
    """

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        *,
        max_message_bytes: int,
        limits: Http2Limits,
        max_small_bytes: int = 64 << 10,
        reading: ReadingTime | None = None,
        network_of: Callable[[str], str | None] = lambda _peer: None,
        refused: Callable[[int], object] = lambda _byte_count: None,
        much_is_free: Callable[[], object] = lambda: None,
        on_fault: OnPeerFault = unheard,
        report: Callable[[], bytes] = bytes,
        between: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Make a server without methods and addresses.

        Args:
            interceptors: Asked once for each method, the first outermost.
            max_message_bytes: The most that a message may have.
            limits: What a connection may cost.
            max_small_bytes: The most that one may have whose reader names no limit of its own: it has no permit.
            reading: How long callers may take to read their answers.
            network_of: Tells whose calls a peer's count as; None: it stands for many.
            refused: Told of bytes that came of calls that were refused before anybody read them.
            much_is_free: Told where much was held of calls without permits, and is free now.
            on_fault: Told of every fault of the protocol that a peer makes.
            report: Returns what goes with every status beside the call's own, as a part of a header block.
            between: Returns a number between two by chance.
        """
        self._on_fault = on_fault
        self._between = between
        too_large = refusal(MetadataTooLargeError(limits.max_header_bytes))
        self._limits = replace(limits, too_large_answer=too_large)
        self._scratch = Scratch()
        self._unpacker = Unpacker()
        self._windows = Windows(
            usual_bytes=limits.window_bytes,
            now=_loop_time,
            unadmitted=Unadmitted(much_is_free=much_is_free),
            refused=refused,
        )
        resources = CallResources(
            max_message_bytes=max_message_bytes,
            max_small_bytes=max_small_bytes,
            reading=reading or ReadingTime(),
            lend=RecycledMemory().lend,
            windows=self._windows,
            unpack=self._unpacker.unpack,
            report=report,
        )
        self._calls = Calls(
            resources,
            interceptors,
            max_header_bytes=limits.max_header_bytes,
            max_unread_bytes=limits.window_bytes,
            network_of=network_of,
        )
        self._listeners: list[Listener] = []
        self._connections: set[ServerProtocol] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._stopping = False

    @property
    def connection_count(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def __repr__(self) -> str:
        return f"<GrpcServer of {len(self._connections)} connections, {len(self._calls)} calls>"

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._calls.dispatch.add(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Do nothing: what protoc generates adds the same handlers as generic ones too."""

    def add_method(self, method: str, serve: Callable[[BareCall], None]) -> None:
        """Serve the calls of a method without tasks and interceptors.

        Args:
            method: As in `/package.Service/Method`, of one request and one answer.
            serve: Told of each call; begins with `begin_without_task`, and raises nothing.
        """
        self._calls.methods[method] = serve

    def listen(self, address: str, tls: Callable[[], ssl.SSLContext] | None = None, *, reuse_port: bool = False) -> int:
        """Listen on HOST:PORT or unix:PATH, and return the port (1 for a socket). Serves from `start` on.

        Args:
            address: Port 0 takes a free one.
            tls: Asked at each new connection.
            reuse_port: Share it with other processes that do.

        Raises:
            OSError: The address cannot be listened on.
        """
        sockets, port = bind(address, reuse_port=reuse_port)
        self._listeners.append(Listener(sockets, self._make_protocol, tls, timeout_s=self._limits.greeting_timeout_s))
        return port

    async def start(self) -> None:
        for listener in self._listeners:
            await listener.start()

    async def drain(self) -> None:
        """Send callers elsewhere: accept no connection any more, and have those that are open end with their calls.

        Returns once all peers know, or have had a second for it: until then calls that they begin are served,
        afterwards refused in the way that tells gRPC's clients to take them elsewhere.
        """
        self._stopping = True
        for listener in self._listeners:
            await listener.close()
        await asyncio.gather(*(protocol.drain() for protocol in self._connections))

    async def stop(self, grace: float | None = None) -> None:
        """Close the listeners; end calls that are not answered after `grace` seconds, and every connection."""
        self._stopping = True
        for listener in self._listeners:
            await listener.close()
        for protocol in tuple(self._connections):
            protocol.connection.shut()
        if grace:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._calls.idle.wait()
        for protocol in tuple(self._connections):
            protocol.close()
        await self._calls.idle.wait()
        await self._all_closed.wait()
        self._unpacker.shut_down()

    def _make_protocol(self) -> ServerProtocol:
        return ServerProtocol(
            self._limits,
            scratch=self._scratch,
            open_stream=self._calls.opener,
            on_opened=self._opened,
            on_closed=self._closed,
            on_fault=self._faulted,
            max_age_s=self._limits.max_age_s * self._between(1 - _AGE_JITTER, 1 + _AGE_JITTER),
        )

    def _faulted(self, protocol: ServerProtocol, kind: FaultKind, text: str) -> None:
        self._on_fault(kind, text, peer_of(protocol.transport).name)

    def _opened(self, protocol: ServerProtocol) -> None:
        self._connections.add(protocol)
        self._all_closed.clear()
        if self._stopping:  # it was accepted just before
            protocol.close()

    def _closed(self, protocol: ServerProtocol) -> None:
        self._connections.discard(protocol)
        self._windows.forget(protocol.connection)
        if not self._connections:
            self._all_closed.set()


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
