# SPDX-License-Identifier: Apache-2.0
"""A connection that a client began, on its transport: its age, and how its peer is sent elsewhere."""

import asyncio
import functools
import math
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.protocol import ConnectionProtocol, Scratch
from grpc_h2.http2.server_connection import OpenStream, ServerConnection
from grpc_h2.http2.wire.errors import FaultKind

# How long a peer may take to hear that we drain, or have closed our side: longer than any round trip.
_NOTICE_TIMEOUT_S = 1.0
_ALPN = "h2"


class ServerProtocol(ConnectionProtocol[ServerConnection]):
    """A connection that a client began, on its transport.

    Owns a second timer: of its age, and then of the grace that calls have to end in (gRFC A9).

    Args:
        max_age_s: It is drained when it is so old: what all have in common, give or take a little by chance.
    """

    def __init__(
        self,
        limits: Http2Limits,
        *,
        scratch: Scratch,
        open_stream: Callable[["ServerProtocol"], OpenStream],
        on_opened: Callable[["ServerProtocol"], None],
        on_closed: Callable[["ServerProtocol"], None],
        on_fault: Callable[["ServerProtocol", FaultKind, str], None],
        max_age_s: float = math.inf,
    ) -> None:
        super().__init__(
            limits,
            functools.partial(ServerConnection, open_stream=open_stream(self)),
            scratch=scratch,
            on_opened=functools.partial(on_opened, self),
            on_closed=functools.partial(on_closed, self),
            on_fault=functools.partial(on_fault, self),
        )
        self._told: asyncio.Future[None] | None = None
        self._max_age_s = max_age_s
        self._age_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() == _ALPN:
            super().connection_made(transport)
            if self._max_age_s < math.inf:
                self._age_timer = self._loop.call_later(self._max_age_s, self._grow_old)
            return
        self.transport = cast("asyncio.Transport", transport)
        self._on_fault(FaultKind.NO_ALPN, "TLS without h2 agreed on by ALPN (RFC 9113, 3.2)")
        self._close_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._age_timer is not None:
            self._age_timer.cancel()
        super().connection_lost(exc)

    def _close_written(self) -> None:
        """Close once the peer has heard all that was said, or has had the time for it."""
        self.connection.flush()
        self._has_ended_output = True
        if self.transport is not None and self.transport.can_write_eof():
            with suppress(OSError):  # raised by asyncio's transports where the peer is gone
                self.transport.write_eof()
        self._linger(_NOTICE_TIMEOUT_S)

    def _grow_old(self) -> None:
        """Send the peer elsewhere, so that it finds servers that were not there when it came."""
        self._age_timer = None
        self.drain()
        if self._limits.max_age_grace_s < math.inf:
            self._age_timer = self._loop.call_later(self._limits.max_age_grace_s, self.close)

    def drain(self) -> asyncio.Future[None]:
        """Send the peer elsewhere: streams that are open are served, and then the connection is closed.

        Returns:
            Done once the peer knows, or has had the time for it; until then streams that it opens are served too.
        """
        if self._told is None:
            self._told = self._loop.create_future()
            timer = self._loop.call_later(_NOTICE_TIMEOUT_S, self.connection.finish_drain)
            self._told.add_done_callback(lambda _: timer.cancel())
            self.connection.begin_drain(self._peer_knows)
        return self._told

    def _peer_knows(self) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(None)
