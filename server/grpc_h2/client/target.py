# SPDX-License-Identifier: Apache-2.0
"""Where a connection leads: gRPC's targets of one place, with or without TLS."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

_SCHEMES = ("ipv4:", "ipv6:", "dns:///", "dns:")
_UNIX = "unix:"
_ALPN = "h2"
# The kernel notices a peer that vanished: gRPC's servers close connections on which they get many PINGs.
_VANISHED_AFTER_S = 20
_PROBE_AFTER_S, _PROBE_EVERY_S, _PROBE_COUNT = 10, 3, 3


@dataclass(frozen=True, slots=True)
class Target:
    """One place: a host and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read `ipv4:ADDRESS:PORT`, `ipv6:[ADDRESS]:PORT`, `HOST:PORT` or `unix:PATH`.

        Raises:
            ValueError: It is none of these.
        """
        if text.startswith(_UNIX):
            path = text.removeprefix(_UNIX)
            return cls(path=path[2:] if path.startswith("///") else path)
        for scheme in _SCHEMES:
            text = text.removeprefix(scheme)
        host, _, port = text.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    @property
    def authority(self) -> str:
        """What requests call the place."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def connect(
        self, make_protocol: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None, server_name: str
    ) -> asyncio.Transport:
        """Open a connection and return it; with TLS the peer's certificate must name `server_name`.

        Raises:
            OSError: Nobody is there, or not who should be.
        """
        loop = asyncio.get_running_loop()
        name = server_name if tls is not None else None
        transport: asyncio.Transport
        if self.path:
            transport, _ = await loop.create_unix_connection(make_protocol, self.path, ssl=tls, server_hostname=name)
        else:
            transport, _ = await loop.create_connection(
                make_protocol, self.host, self.port, ssl=tls, server_hostname=name
            )
            _watch(transport.get_extra_info("socket"))
        if tls is not None and transport.get_extra_info("ssl_object").selected_alpn_protocol() != _ALPN:
            transport.abort()
            raise ConnectionError("the server does not speak HTTP/2 over TLS")
        return transport


def _watch(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBE_COUNT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_AFTER_S * 1000)
