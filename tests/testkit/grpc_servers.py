# SPDX-License-Identifier: Apache-2.0
"""Servers for our own gRPC client: gRPC's, and one that answers with any bytes."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_h2.client.caller import UnaryCaller
from grpc_h2.http2.wire import frames

from testkit.listening import server_of

Serve = Callable[[bytes, Any], Awaitable[bytes]]
MAX_MESSAGE_BYTES = 64 << 20
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)
_END_OF_FIRST = frames.frame(frames.DATA, frames.END_STREAM, 1)


@asynccontextmanager
async def grpc_server(
    methods: Mapping[str, Serve],
    *,
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
    options: tuple[tuple[str, int], ...] = (),
) -> AsyncIterator[str]:
    """Yield the target of a grpc.aio server of /test/NAME for each method."""
    server = grpc.aio.server(options=(*_OPTIONS, *options))
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(serve) for name, serve in methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(None)


class RawServer:
    """Greets, and answers the first request of each connection with the same bytes. Counts connections and ends."""

    def __init__(self, answer: bytes, *, greets: bool = True, hangs_up: bool = False) -> None:
        self._answer = answer
        self._greets = greets
        self._hangs_up = hangs_up
        self.connection_count = 0
        self.asked = asyncio.Event()
        self.received = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        if self._greets:
            writer.write(frames.settings({}))
        answered = False
        while data := await reader.read(1 << 16):
            self.received += data
            if not answered and _END_OF_FIRST in self.received:
                answered = True
                self.asked.set()
                writer.write(self._answer)
                if self._hangs_up:
                    break
        self.received.clear()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Yield where."""
        async with server_of(self.serve) as address:
            yield f"ipv4:{address}"


@asynccontextmanager
async def caller_of(target: str, name: str = "Echo", **options: Any) -> AsyncIterator[UnaryCaller]:
    """Yield a caller of /test/NAME, and close it; nothing of it may be left then."""
    defaults = {"max_message_bytes": MAX_MESSAGE_BYTES, "connect_timeout_s": 10.0}
    caller = UnaryCaller(target, f"/test/{name}", **defaults | options)
    try:
        yield caller
    finally:
        await caller.close()
    assert repr(caller).endswith(" 0 connections>")
