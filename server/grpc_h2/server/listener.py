# SPDX-License-Identifier: Apache-2.0
"""Sockets that listen, and how a new connection gets its protocol."""

import asyncio
import errno
import os
import socket
import ssl
import stat
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

BACKLOG = 1024
_ACCEPT_AGAIN_S = 0.1
# Errors that say that this machine does not have an address, of several that a name has.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
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
        self._paths = [sock.getsockname() for sock in sockets if sock.family == socket.AF_UNIX]
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
            sock.close()
        paths, self._paths = self._paths, []
        for path in paths:
            with suppress(OSError):
                os.unlink(path)

    def _follow(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket, tls: Callable[[], ssl.SSLContext]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:  # no more file descriptors, or the peer has gone meanwhile
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            self._follow(self._shake_hands(connection, tls))

    async def _shake_hands(self, connection: socket.socket, tls: Callable[[], ssl.SSLContext]) -> None:
        try:
            context = tls()
        except (OSError, ValueError):  # the files do not fit; whoever reads them reports it
            connection.close()
            return
        with suppress(OSError):  # the handshake failed; the client may try again
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol, connection, ssl=context, ssl_handshake_timeout=self._timeout_s
            )


def bind(address: str, *, reuse_port: bool = False) -> tuple[list[socket.socket], int]:
    """Return sockets bound to HOST:PORT, all addresses of the host, or to unix:PATH, and the port (1 for a path).

    With `reuse_port` other processes that say so too share the port; the system deals out connections among them.

    Raises:
        OSError: The address cannot be bound.
    """
    try:
        if address.startswith(_UNIX):
            return [_bind_path(address.removeprefix(_UNIX))], 1
        host, _, port = address.rpartition(":")
        return _bind_host(host.strip("[]"), int(port), reuse_port=reuse_port)
    except (OSError, ValueError, OverflowError) as exc:
        raise OSError(f"Cannot listen on {address}: the port is taken, or the address is not of this machine.") from exc


def _bind_host(host: str, port: int, *, reuse_port: bool) -> tuple[list[socket.socket], int]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    families = {(family, target[0], *target[2:]): None for family, _, _, _, target in found}
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, *target in families:
            try:
                # [::] alone takes IPv4 too; beside 0.0.0.0 it must not.
                sock = _bound(family, (target[0], port, *target[1:]), only_own=len(families) > 1, reuse_port=reuse_port)
            except OSError as exc:
                if exc.errno not in _NOT_HERE:
                    raise
                missing = exc
                continue
            sockets.append(sock)
            port = sock.getsockname()[1]  # the other addresses take the same port
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if missing is not None and not sockets:
        raise missing
    return sockets, port


def _bound(family: socket.AddressFamily, target: tuple[Any, ...], *, only_own: bool, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_own)
        return _listening(sock, target)
    except BaseException:
        sock.close()
        raise


def _listening(sock: socket.socket, target: Any) -> socket.socket:
    sock.bind(target)
    sock.setblocking(False)
    sock.listen(BACKLOG)
    return sock


def _bind_path(path: str) -> socket.socket:
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        return _listening(sock, path)
    except BaseException:
        sock.close()
        raise


def _answers(path: str) -> bool:
    """Whether somebody listens on a socket's path; what a program that died left behind is nobody's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # such as a full backlog: somebody listens
            return True
        return True
