# SPDX-License-Identifier: Apache-2.0
"""Our gRPC server with a few plain methods on a loopback socket, for real clients."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.server.bare_call import BareCall
from grpc_h2.server.call import ServerCall
from grpc_h2.server.reading_time import ReadingTime
from grpc_h2.server.server import GrpcServer, OnPeerFault, unheard

Context: TypeAlias = ServerCall
MAX_MESSAGE_BYTES = 80 << 20
CHANNEL_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_MAKERS: dict[str, Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class Loopback:
    """A server that is up. `address` is what channels connect to."""

    def __init__(self, server: GrpcServer, address: str) -> None:
        self.server = server
        self.address = address

    def channel(self, **options: Any) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS, **options)


def make_server(
    methods: dict[str, tuple[str, Callable[..., Any]]],
    *,
    limits: Http2Limits | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    max_small_bytes: int | None = None,
    reading: ReadingTime | None = None,
    network_of: Callable[[str], str | None] = lambda _peer: None,
    bare: Mapping[str, Callable[[BareCall], None]] | None = None,
    on_fault: OnPeerFault = unheard,
    report: Callable[[], bytes] = bytes,
    between: Callable[[float, float], float] = random.uniform,
) -> GrpcServer:
    """Return a server of /test/NAME for each method: its kind, and what serves it; and of those that no task serves."""
    server = GrpcServer(
        interceptors,
        max_message_bytes=max_message_bytes,
        limits=limits or Http2Limits(),
        max_small_bytes=max_small_bytes or max_message_bytes,
        on_fault=on_fault,
        reading=reading,
        network_of=network_of,
        report=report,
        between=between,
    )
    handlers = {name: _MAKERS[kind](serve) for name, (kind, serve) in methods.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    for name, begin in (bare or {}).items():
        server.add_method(f"/test/{name}", begin)
    return server


@asynccontextmanager
async def loopback(
    methods: dict[str, tuple[str, Callable[..., Any]]],
    *,
    address: str = "127.0.0.1:0",
    tls: Callable[[], ssl.SSLContext] | None = None,
    **options: Any,
) -> AsyncIterator[Loopback]:
    """Yield the server, and stop it in the end; nothing of it may be left then."""
    server = make_server(methods, **options)
    port = server.listen(address, tls)
    await server.start()
    try:
        yield Loopback(server, address if address.startswith("unix:") else f"127.0.0.1:{port}")
    finally:
        await server.stop()
    assert repr(server) == "<GrpcServer of 0 connections, 0 calls>"
