# SPDX-License-Identifier: Apache-2.0
"""A gRPC server on a real socket that comes, goes and comes back on the same port."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

from abc import abstractmethod
from typing import Self

import grpc

_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0))


class FakeServer:
    """What servers for tests have in common. With `credentials` it speaks TLS.

    Owns the server, and the port, which stays the same once it was started.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None) -> None:
        self.port = 0
        self._credentials = credentials
        self._server: grpc.aio.Server | None = None

    @abstractmethod
    def _serve(self, server: grpc.aio.Server) -> None:
        """Add what is served."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port as before, if it was started before."""
        self._server = grpc.aio.server(options=_OPTIONS)
        self._serve(self._server)
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self._credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Vanish at once."""
        if self._server is not None:
            await self._server.stop(None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
