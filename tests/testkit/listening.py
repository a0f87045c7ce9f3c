# SPDX-License-Identifier: Apache-2.0
"""Servers of bytes, of which nothing is left: a connection that nobody closes is blamed on whichever test is next."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# What the event loop needs to make a transport of a connection that it has accepted.
_TURNS = 3


@asynccontextmanager
async def server_of(serve: Serve) -> AsyncIterator[str]:
    """Yield the address of a server of that; every connection is closed at the end."""
    handled: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await serve(reader, writer)
            await writer.drain()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        handled.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        # What was accepted becomes a transport first: one that is made of a closed server is never closed.
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        server.close()
        for task in handled:
            task.cancel()
        await asyncio.gather(*handled, return_exceptions=True)
        for writer in writers:  # also of tasks that were cancelled before their first step
            await closed(writer)
        await server.wait_closed()


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()
