# SPDX-License-Identifier: Apache-2.0
"""How much callers may send before their call is let in."""

from collections.abc import Callable
from typing import Protocol

# Whole messages of calls that are let in at once, as a rule: then the caller need not stop for our leave.
_LARGE_BYTES = 1 << 20
# What calls that are not let in have sent, all together: from here on everybody gets the usual window, ...
_CROWDED_BYTES = 16 << 20
# ... and from here on who has sent more than that is refused.
_MOST_BYTES = 64 << 20
_QUIET_S = 1.0


class Windowed(Protocol):
    """A connection whose streams have a window."""

    def resize_window(self, byte_count: int) -> None:
        """Let each stream send so many bytes before anybody reads them."""
        ...


class Windows:
    """The windows of all connections of a server.

    A connection begins with the usual window; once a larger message has come over it in a call that was
    let in at once, its streams may send a whole mebibyte at once. What calls that wait to be let in have
    sent is in memory that no permit counts. Owns the sum of that, and which connections have large windows;
    touched on the event loop only. Invariant: where the sum is over `crowded_bytes` no connection has been
    told of a large window since, for a second at least.

    Args:
        usual_bytes: What each stream may always send.
        now: Tells the time, in seconds.
    """

    def __init__(
        self,
        *,
        usual_bytes: int,
        now: Callable[[], float],
        crowded_bytes: int = _CROWDED_BYTES,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self.usual_bytes = usual_bytes
        self._now = now
        self._crowded_bytes = crowded_bytes
        self._most_bytes = most_bytes
        self._large: set[Windowed] = set()
        self._early_bytes = 0
        self._crowded_s = float("-inf")  # when there was last too much

    def message_came(self, connection: Windowed, byte_count: int) -> None:
        """Note a message of a call that was let in at once."""
        if byte_count <= self.usual_bytes or connection in self._large:
            return
        if self._now() - self._crowded_s >= _QUIET_S:
            self._large.add(connection)
            connection.resize_window(_LARGE_BYTES)

    def forget(self, connection: Windowed) -> None:
        """Let go of a connection that is closed."""
        self._large.discard(connection)

    def came_early(self, byte_count: int) -> None:
        """Count bytes of a call that is not let in; fewer than none where it is, or has ended."""
        self._early_bytes += byte_count
        if self._early_bytes > self._crowded_bytes:
            self._crowded_s = self._now()
            large, self._large = self._large, set()
            for connection in large:
                connection.resize_window(self.usual_bytes)

    def refuses(self, byte_count: int) -> bool:
        """Whether a call that is not let in has sent too much, as things are."""
        return byte_count > self.usual_bytes and self._early_bytes > self._most_bytes

    def __repr__(self) -> str:
        return f"<Windows: {len(self._large)} large, {self._early_bytes} bytes early>"
