# SPDX-License-Identifier: Apache-2.0
"""What callers who are not admitted yet leave in gRPC's buffers, which no permit counts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from matting_gateway.rpc.serving.server import make_server
from testkit.listening import closed, server_of

BODY_BYTES = 4 << 20
WAITING_COUNT = 10
UNREAD_BYTES = 128 << 10  # of each waiting call, at the most


class CountingProxy:
    """Passes a connection's bytes on, and counts those on their way to the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent_bytes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(
                self._pass_on(reader, upstream_writer, self._count),
                self._pass_on(upstream_reader, writer, lambda _: None),
            )
        finally:
            await closed(upstream_writer)

    def _count(self, byte_count: int) -> None:
        self.sent_bytes += byte_count

    @staticmethod
    async def _pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        while data := await reader.read(1 << 20):
            count(len(data))
            writer.write(data)
            await writer.drain()
        writer.close()


async def take(_requests: object, context: Any) -> bytes:
    return str(len(await context.read(BODY_BYTES))).encode()


@asynccontextmanager
async def served(hold: Callable[..., Awaitable[bytes]]) -> AsyncIterator[tuple[CountingProxy, grpc.aio.Channel]]:
    """Yield a proxy before a server with the gateway's own options, and a channel through it."""
    server = make_server(
        (), max_message_bytes=64 << 20, max_connection_streams=100, on_fault=lambda _peer, _kind, _text: None
    )
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Take": grpc.stream_unary_rpc_method_handler(take),
        "Hold": grpc.stream_unary_rpc_method_handler(hold),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    proxy = CountingProxy(server.listen("127.0.0.1:0"))
    await server.start()
    async with server_of(proxy.serve) as address, grpc.aio.insecure_channel(address) as channel:
        yield proxy, channel
        await server.stop(0)


async def test_a_quick_connection_does_not_make_waiting_callers_send_ahead() -> None:
    admitted, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def hold(requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        begun.release()
        await admitted.wait()
        return await take(requests, context)

    body = bytes(BODY_BYTES)
    async with served(hold) as (proxy, channel):
        taking, holding = (
            channel.unary_unary("/test/Take", bytes, bytes),
            channel.unary_unary("/test/Hold", bytes, bytes),
        )
        for _ in range(10):  # gRPC learns how quick the connection is
            assert await taking(body) == str(BODY_BYTES).encode()
        before = proxy.sent_bytes
        waiting = [asyncio.ensure_future(holding(body)) for _ in range(WAITING_COUNT)]
        for _ in waiting:
            await begun.acquire()
        for _ in range(10):  # meanwhile others are served, so whatever is free to go has gone
            await taking(b"")
        assert proxy.sent_bytes - before < WAITING_COUNT * UNREAD_BYTES
        admitted.set()
        assert set(await asyncio.gather(*waiting)) == {str(BODY_BYTES).encode()}
