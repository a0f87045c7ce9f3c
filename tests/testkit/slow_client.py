# SPDX-License-Identifier: Apache-2.0
"""Clients that behave badly on the HTTP/2 level, where a gRPC library would not let them."""

import asyncio
import struct
from contextlib import suppress

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_HEADERS, _CANCEL = 4, 8
_METHOD = "/matting.v1.MattingService/RemoveBackground"


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Return an HTTP/2 frame (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    """Return a SETTINGS frame; known names: initial_window_size, max_frame_size."""
    numbers = {"initial_window_size": 4, "max_frame_size": 5}
    return frame(_SETTINGS, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def headers(stream: int, *extra: tuple[str, str], method: str = _METHOD) -> bytes:
    """Return the headers of a gRPC call, as literals without a table (RFC 7541, 6.2.2)."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    return frame(_HEADERS, block, flags=_END_HEADERS, stream=stream)


def _text(value: str) -> bytes:
    data = value.encode("ascii")
    if len(data) > 126:
        raise ValueError("longer texts need a longer length")
    return bytes([len(data)]) + data


def reset(stream: int) -> bytes:
    return frame(_RST_STREAM, struct.pack(">I", _CANCEL), stream=stream)


def ping() -> bytes:
    return frame(_PING, bytes(8))


class SlowBody:
    """A call whose body comes a byte a second and never ends. Owns its connection."""

    def __init__(self, address: str, *, promised_bytes: int | None = None, body_bytes: int = 100_000) -> None:
        self._address = address
        self._promised_bytes = promised_bytes
        self._body_bytes = body_bytes
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect, and send the headers and the beginning of the message."""
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        promise = [] if self._promised_bytes is None else [("x-matting-request-bytes", str(self._promised_bytes))]
        prefix = b"\0" + struct.pack(">I", self._body_bytes)
        self._writer.write(_PREFACE + settings() + headers(1, *promise) + frame(_DATA, prefix, stream=1))
        await self._writer.drain()

    async def drip(self, pause_s: float = 1.0) -> None:
        """Send a byte, and another, until the server has had enough or the task is cancelled."""
        writer = self._writer
        if writer is None:
            return
        try:
            with suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(frame(_DATA, b"x", stream=1))
                    await writer.drain()
                    await asyncio.sleep(pause_s)
        finally:
            writer.close()


async def flood(address: str, data: bytes, *, repeat: int) -> bytes:
    """Send a connection's preface and then `data` many times; return what came back before the server closed."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with suppress(ConnectionError):
        writer.write(_PREFACE + settings())
        for _ in range(repeat):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    answer = b""
    with suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer
