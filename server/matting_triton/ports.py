# SPDX-License-Identifier: Apache-2.0
"""Holding a loopback port, so that nobody takes it between choosing it and Triton's binding, or across restarts."""

import socket

from matting_triton.errors import PortTakenError

LOOPBACK = "127.0.0.1"


class HeldPort:
    """A TCP port of the loopback interface that is ours until closed.

    Owns a socket that is bound and never listens: it gets no connections, and keeps everybody out who does not ask for
    SO_REUSEPORT, which Triton does (`--reuse-grpc-port`).

    Args:
        port: The port wanted; 0 for any free one.

    Raises:
        PortTakenError: Somebody listens there, or the port may not be bound.
    """

    def __init__(self, port: int = 0) -> None:
        if port:
            # Without SO_REUSEPORT first: with it, a foreign listener that shares its port would go unnoticed.
            _bind(port, socket.SO_REUSEADDR).close()
        self._socket = _bind(port, socket.SO_REUSEPORT)
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def __repr__(self) -> str:
        return f"HeldPort({self.number})"


def _bind(port: int, option: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, option, 1)
        held.bind((LOOPBACK, port))
    except (OSError, OverflowError) as exc:
        held.close()
        raise PortTakenError(
            f"Port {port} of {LOOPBACK} cannot be used ({exc}); choose another one, or 0 for any free one."
        ) from exc
    return held
