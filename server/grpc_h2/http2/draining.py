# SPDX-License-Identifier: Apache-2.0
"""How a server sends a connection's peer elsewhere, in two steps (RFC 9113, 6.8)."""

from collections.abc import Callable

from grpc_h2.http2.wire import frames

# What the PING after the first GOAWAY carries, so that its answer is known.
_MARK = b"draining"


class Draining:
    """How far one connection has come with it.

    Owns whom to tell that the peer knows, and whether the connection closes with its last stream. Invariant: whoever
    drains is told once: that the peer has answered, has had its time, or is gone.

    Args:
        control: Sends a frame.
    """

    def __init__(self, control: Callable[[bytes], None]) -> None:
        self._control = control
        self._on_told: Callable[[], None] | None = None  # exactly while the peer may not know yet
        self.leaving = False  # closes with its last stream

    def announce(self, on_told: Callable[[], None]) -> None:
        """Ask the peer to open no more streams, and for a sign that it has heard that."""
        self._on_told = on_told
        ping = frames.frame(frames.PING, 0, 0, _MARK)
        self._control(frames.goaway(frames.MAX_STREAM_ID, frames.NO_ERROR) + ping)

    def is_answered_by(self, ping: bytes) -> bool:
        """Whether an answer to a PING says that the peer knows."""
        return ping == _MARK

    def leave(self) -> Callable[[], None] | None:
        """Take it that the peer knows; return whom to tell, or None where it was known or nothing has begun."""
        on_told, self._on_told = self._on_told, None
        self.leaving = on_told is not None or self.leaving
        return on_told

    def abandon(self) -> Callable[[], None] | None:
        """Take it that the connection ends; return whom to tell that nobody has to be waited for."""
        on_told, self._on_told = self._on_told, None
        self.leaving = False
        return on_told
