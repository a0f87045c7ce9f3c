# SPDX-License-Identifier: Apache-2.0
"""Sockets that listen, and how a new connection gets its protocol."""

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

BACKLOG = 1024
_UNIX = "unix:"


class Listener:
    """One address that is listened on.

    Owns its sockets and what accepts on them. With TLS each connection gets the context of its
    own moment, so that certificates can change; who does not finish the handshake in time is cut off.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        make_protocol: Callable[[], asyncio.BaseProtocol],
        tls: Callable[[], ssl.SSLContext] | None,
        *,
        timeout_s: float,
    ) -> None:
        self._sockets = sockets
        self._make_protocol = make_protocol
        self._tls = tls
        self._timeout_s = timeout_s
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            if self._tls is not None:
                self._follow(self._accept(sock, self._tls))
            elif sock.family == socket.AF_UNIX:
                self._servers.append(await loop.create_unix_server(self._make_protocol, sock=sock, backlog=BACKLOG))
            else:
                self._servers.append(await loop.create_server(self._make_protocol, sock=sock, backlog=BACKLOG))

    async def close(self) -> None:
        """Accept nothing more."""
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._sockets:
            path = sock.getsockname() if sock.family == socket.AF_UNIX and sock.fileno() >= 0 else None
            sock.close()
            if path:
                with suppress(OSError):
                    os.unlink(path)

    def _follow(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket, tls: Callable[[], ssl.SSLContext]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listening)
            self._follow(self._shake_hands(connection, tls()))

    async def _shake_hands(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        with suppress(OSError, ssl.SSLError, ConnectionError):  # it is theirs to try again
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol, connection, ssl=context, ssl_handshake_timeout=self._timeout_s
            )


def bind(address: str) -> tuple[list[socket.socket], int]:
    """Return sockets bound to HOST:PORT, all addresses of the host, or to unix:PATH, and the port (1 for a path).

    Raises:
        OSError: The address cannot be bound.
    """
    try:
        if address.startswith(_UNIX):
            return [_bind_path(address.removeprefix(_UNIX))], 1
        host, _, port = address.rpartition(":")
        return _bind_host(host.strip("[]"), int(port))
    except (OSError, ValueError) as exc:
        raise OSError(f"Cannot listen on {address}: the port is taken, or the address is not of this machine.") from exc


def _bind_host(host: str, port: int) -> tuple[list[socket.socket], int]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, target in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((target[0], port, *target[2:]))
            port = sock.getsockname()[1]  # the free port that one got is everybody's
            sock.setblocking(False)
            sock.listen(BACKLOG)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets, port


def _bind_path(path: str) -> socket.socket:
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.setblocking(False)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(path: str) -> bool:
    """Whether somebody listens on a socket's path; what a program that died left behind is nobody's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
        return True
