# SPDX-License-Identifier: Apache-2.0
"""A connection that we begin, on its transport."""

import asyncio
import functools
from collections.abc import Callable
from typing import cast

from grpc_h2.http2.client_connection import ClientConnection
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.protocol import ConnectionProtocol, Scratch
from grpc_h2.http2.wire.errors import FaultKind


class ClientProtocol(ConnectionProtocol[ClientConnection]):
    """A connection that we begin, on its transport. It can be given up before it has one."""

    def __init__(
        self,
        limits: Http2Limits,
        *,
        scratch: Scratch,
        on_opened: Callable[["ClientProtocol"], None],
        on_closed: Callable[["ClientProtocol"], None],
    ) -> None:
        super().__init__(
            limits,
            ClientConnection,
            scratch=scratch,
            on_opened=functools.partial(on_opened, self),
            on_closed=functools.partial(on_closed, self),
            on_fault=_told_by_calls,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.connection.usable:
            super().connection_made(transport)
        else:
            cast("asyncio.Transport", transport).abort()

    def abandon(self, text: str) -> None:
        """End it at once; of one being opened a loop may still tell that it was made, or not that it is lost."""
        if self._timer is not None:
            self._timer.cancel()
        self.connection.end(text)
        self._abort()


def _told_by_calls(kind: FaultKind, text: str) -> None:
    """Do nothing: what a server does wrong is told by the calls that fail of it."""
