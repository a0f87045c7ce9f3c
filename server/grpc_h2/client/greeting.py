# SPDX-License-Identifier: Apache-2.0
"""Saying hello to whoever is at a target, to find out what it speaks."""

import asyncio
import ssl

from grpc_h2.client.target import Target
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.foreign import what_it_speaks

_FIRST_BYTES = 64


async def spoken_at(target: str, tls: ssl.SSLContext | None, server_name: str) -> str:
    """Return the name of what is spoken at a target instead of HTTP/2; "" where it is HTTP/2. Waits for an answer.

    Args:
        target: See `Target.parse`.
        tls: What to connect with, if not in the clear.
        server_name: What the server's certificate must name.

    Raises:
        ConnectionResetError: The connection was closed without a word.
        ssl.SSLError: It cannot be connected to by TLS.
        OSError: It cannot be connected to.
    """
    reader = asyncio.StreamReader(limit=_FIRST_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = await Target.parse(target).connect(lambda: protocol, tls, server_name)
    try:
        transport.write(frames.PREFACE + frames.settings({}))
        first = b""
        while len(first) < frames.HEADER_BYTES:
            more = await reader.read(_FIRST_BYTES)
            if not more:
                break
            first += more
    finally:
        transport.abort()
    if not first:
        raise ConnectionResetError("closed without a word")
    return what_it_speaks(first)
