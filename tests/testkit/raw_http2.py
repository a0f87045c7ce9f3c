# SPDX-License-Identifier: Apache-2.0
"""A caller who speaks HTTP/2 by hand, so that it can do what no gRPC library does."""

import asyncio
from typing import Self

import hpack
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import write_fields

_PATIENCE_S = 20.0
Frame = tuple[int, int, int, bytes]


class RawCaller:
    """One connection. Owns it, and the table of what the server's headers refer to."""

    def __init__(self, address: str, settings: dict[int, int] | None = None) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._settings = settings or {}
        self._decoder = hpack.Decoder()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self.send(frames.PREFACE + frames.settings(self._settings))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the server has taken most of what was sent."""
        async with asyncio.timeout(_PATIENCE_S):
            await self._writer.drain()

    @property
    def local_port(self) -> int:
        return int(self._writer.get_extra_info("sockname")[1])

    def half_close(self) -> None:
        self._writer.write_eof()

    def cut(self) -> None:
        self._writer.transport.abort()

    def call(self, stream_id: int, path: bytes, *extra: tuple[bytes, bytes], ends: bool = False) -> None:
        """Send the headers of a call; of two fields with the same name the later counts."""
        fields = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": path,
            b":authority": b"localhost",
            b"content-type": b"application/grpc",
            **dict(extra),
        }
        flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
        self.send(frames.frame(frames.HEADERS, flags, stream_id, write_fields(fields.items())))

    def message(self, stream_id: int, message: bytes, *, ends: bool = True) -> None:
        data = b"\0" + len(message).to_bytes(4, "big") + message
        self.send(frames.frame(frames.DATA, frames.END_STREAM if ends else 0, stream_id, data))

    async def frame(self) -> Frame:
        """Return kind, flags, stream and payload of the next frame."""
        async with asyncio.timeout(_PATIENCE_S):
            head = await self._reader.readexactly(frames.HEADER_BYTES)
            length, kind, flags, stream_id = frames.read_header(head, 0)
            return kind, flags, stream_id, await self._reader.readexactly(length)

    async def next_of(self, kind: int) -> Frame:
        while (found := await self.frame())[0] != kind:
            pass
        return found

    async def headers(self) -> dict[bytes, bytes]:
        """Return the next header block."""
        _, _, _, block = await self.next_of(frames.HEADERS)
        return dict(self.decode(block))

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Return the fields of a header block; blocks must be given in their order."""
        return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]

    async def some(self) -> bytes:
        """Return some of what came; nothing where the server closed."""
        return await self._reader.read(1 << 20)

    async def closed(self) -> bytes:
        """Return what came until the server closed."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self._reader.read()
