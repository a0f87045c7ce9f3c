# SPDX-License-Identifier: Apache-2.0
"""Unary calls of one method at one place, over one connection."""

import asyncio
import math
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import replace

import grpc

from grpc_h2.bodies.framing import body_of
from grpc_h2.buffers import Buffer
from grpc_h2.client.call import Call, OnEnd
from grpc_h2.client.status import Failure
from grpc_h2.client.target import Target
from grpc_h2.http2.client_connection import ClientConnection
from grpc_h2.http2.client_protocol import ClientProtocol
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.protocol import Scratch
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import Fields, write_fields

# 0x83: ":method: POST"; 0x86 and 0x87: ":scheme: http" and "https" (RFC 7541, A).
_POST, _HTTP, _HTTPS = b"\x83", b"\x86", b"\x87"
# The server was chosen by whoever configured it and is trusted: only messages are bounded.
# gRPC's channels do not ping either, unless they are told to.
_LIMITS = Http2Limits(
    window_bytes=frames.MAX_WINDOW_BYTES,
    connection_window_bytes=frames.MAX_WINDOW_BYTES,
    control_frame_burst=1_000_000,
    control_frames_per_s=100_000,
    keepalive_s=math.inf,
)


class UnaryCaller:
    """Calls one method.

    Owns the connection, those that are being closed or end with their last answer, and a task while it connects.
    Touched on the event loop only. Invariants: calls begin on one connection at a time, made when the first of them
    needs it; calls that find none yet wait for the same attempt and fail with it. After `close` nothing is left.

    Args:
        target: Where: see `Target.parse`.
        method: As in `/package.Service/Method`.
        max_message_bytes: The most that a request's or an answer's message may have.
        connect_timeout_s: How long a connection, with TLS, may take to be opened, and then the server to greet.
        tls: What it is opened with, if not in the clear.
        server_name: What the server's certificate must name.
        limits: What the connection may cost.
    """

    def __init__(
        self,
        target: str,
        method: str,
        *,
        max_message_bytes: int,
        connect_timeout_s: float,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        limits: Http2Limits = _LIMITS,
    ) -> None:
        self._target_text = target
        self._target = Target.parse(target)
        self._max_message_bytes = max_message_bytes
        self._connect_timeout_s = connect_timeout_s
        self._tls = tls
        self._server_name = server_name
        self._limits = replace(limits, greeting_timeout_s=connect_timeout_s)
        authority = server_name if tls is not None and server_name else self._target.authority
        self._headers = _POST + (_HTTP if tls is None else _HTTPS) + write_fields(_fields(method, authority))
        self._scratch = Scratch()
        self._protocol: ClientProtocol | None = None
        self._attempts: set[asyncio.Task[None]] = set()
        self._open: set[ClientProtocol] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<UnaryCaller of {self._target_text}: {len(self._open)} connections>"

    async def call(
        self, request: Buffer | Sequence[Buffer], timeout_s: float | None = None, *, metadata: Fields = ()
    ) -> bytearray:
        """Return the answer's message.

        Args:
            request: The message, or its pieces in order. What they look at must stay as it is until it is sent.
            timeout_s: How long it may take. At its end, and where the caller is cancelled, so is the call.
            metadata: Names and values that go with it.

        Raises:
            CallError: The call failed.
        """
        call = self.begin(request, metadata=metadata)
        try:
            async with asyncio.timeout(timeout_s):
                return await call.answer()
        except TimeoutError:
            failure = Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            raise failure.error() from None
        finally:
            call.fail(Failure(grpc.StatusCode.CANCELLED, "The call was cancelled."))

    def begin(self, request: Buffer | Sequence[Buffer], *, on_end: OnEnd | None = None, metadata: Fields = ()) -> Call:
        """Begin a call that goes on whether anybody waits for it or not. What goes wrong is told by its answer."""
        pieces = (request,) if isinstance(request, bytes | bytearray | memoryview) else request
        size = sum(map(len, pieces))
        call = Call(max_message_bytes=self._max_message_bytes, on_end=on_end)
        if size > self._max_message_bytes:
            text = f"CLIENT: Sent message larger than max ({size} vs. {self._max_message_bytes})"
            call.fail(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, text))
        elif self._closed:
            call.lost("the caller is closed")
        else:
            headers = self._headers + write_fields(metadata) if metadata else self._headers
            call.send(self._connection(), headers, body_of(pieces))
        return call

    async def close(self) -> None:
        """Fail the calls under way, and close."""
        self._closed = True
        if self._protocol is not None:  # an attempt that is cancelled before its first step tells nobody
            self._protocol.connection.end("the caller is closed")
        for attempt in self._attempts:
            attempt.cancel()
        for protocol in tuple(self._open):
            protocol.abandon("the caller is closed")  # at once: a server may take its time to end TLS
        await asyncio.gather(*self._attempts, return_exceptions=True)
        await self._all_closed.wait()

    # --- connections ------------------------------------------------------------------------

    def _connection(self) -> ClientConnection:
        """Return the one on which calls begin. Until it is open they wait in it."""
        protocol = self._protocol
        if protocol is None or not protocol.connection.usable:
            protocol = self._protocol = ClientProtocol(
                self._limits, scratch=self._scratch, on_opened=self._opened, on_closed=self._gone
            )
            attempt = asyncio.get_running_loop().create_task(self._connect(protocol))
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempts.discard)
        return protocol.connection

    async def _connect(self, protocol: ClientProtocol) -> None:
        text = f"no connection to {self._target_text}"
        opened = False
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._target.connect(lambda: protocol, self._tls, self._server_name)
            opened = True
        except TimeoutError:
            text += " in time"
        except ssl.SSLError as exc:
            text += f" by TLS: {getattr(exc, 'verify_message', '') or exc.reason or exc}"
        except (OSError, ValueError) as exc:  # ValueError: a name that TLS cannot ask for
            number = getattr(exc, "errno", None)
            text += f": {os.strerror(number).lower() if number and number > 0 else exc}"
        finally:
            if not opened:
                protocol.abandon(text)
                self._gone(protocol)

    def _opened(self, protocol: ClientProtocol) -> None:
        self._open.add(protocol)
        self._all_closed.clear()

    def _gone(self, protocol: ClientProtocol) -> None:
        self._open.discard(protocol)
        if not self._open:
            self._all_closed.set()


def _fields(method: str, authority: str) -> Iterator[tuple[bytes, bytes]]:
    yield b":path", method.encode()
    yield b":authority", authority.encode()
    yield b"te", b"trailers"
    yield b"content-type", b"application/grpc"
