# SPDX-License-Identifier: Apache-2.0
"""A network with nothing in it but loopback."""

import array
import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_REQUEST = struct.Struct("16sh22x")


class NamespaceRefusedError(PermissionError):
    """Neither root nor allowed to make user namespaces."""


def leave_the_network() -> None:
    """Move this process, and what it starts, into a network namespace of its own with loopback up.

    Root may; anybody else becomes root of a user namespace of their own, where that is allowed.
    Call it before there are other threads.

    Raises:
        NamespaceRefusedError: Neither is possible.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        user_id, group_id = os.getuid(), os.getgid()
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            raise NamespaceRefusedError(
                "A network namespace needs root, CAP_SYS_ADMIN or the right to make user namespaces:"
                f" {os.strerror(ctypes.get_errno())}."
            )
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user_id} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group_id} 1", "ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = array.array("b", _REQUEST.pack(b"lo", 0))
        fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request, True)
        name, flags = _REQUEST.unpack(request.tobytes())
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _REQUEST.pack(name, flags | _IFF_UP))


def interfaces() -> list[str]:
    """Return the names of the network interfaces that there are."""
    return [name for _, name in socket.if_nameindex()]
