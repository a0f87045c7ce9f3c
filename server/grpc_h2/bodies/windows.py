# SPDX-License-Identifier: Apache-2.0
"""How much callers may send before their call is let in."""

from collections.abc import Callable
from typing import Protocol

from grpc_h2.bodies.unadmitted import Holder, Unadmitted

# As a rule a whole message of a call that is let in at once: its caller need not wait for a WINDOW_UPDATE.
_LARGE_BYTES = 1 << 20
# Once calls that are not let in have sent so much together, every connection gets the usual window.
_CROWDED_BYTES = 16 << 20
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
    sent is in memory that no permit counts: `unadmitted` counts it. Owns which connections have large windows;
    touched on the event loop only. Invariant: where that is over `crowded_bytes` no connection has been
    told of a large window since, for a second at least.

    Args:
        usual_bytes: What each stream may always send.
        now: Tells the time, in seconds.
        unadmitted: Bounds what such calls hold.
        refused: Told of bytes that came of calls that were refused before they were let in.
    """

    def __init__(
        self,
        *,
        usual_bytes: int,
        now: Callable[[], float],
        unadmitted: Unadmitted,
        refused: Callable[[int], object] = lambda _byte_count: None,
        crowded_bytes: int = _CROWDED_BYTES,
    ) -> None:
        self.usual_bytes = usual_bytes
        self._now = now
        self._unadmitted = unadmitted
        self.refused = refused
        self._crowded_bytes = crowded_bytes
        self._large: set[Windowed] = set()
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

    def holds(self, holder: Holder, byte_count: int) -> None:
        """Take note of what a call without a permit holds now, in all; it, or others, may be refused for it."""
        self._unadmitted.holds(holder, byte_count)
        if self._unadmitted.total_bytes > self._crowded_bytes:
            self._crowded_s = self._now()
            large, self._large = self._large, set()
            for connection in large:
                connection.resize_window(self.usual_bytes)

    def __repr__(self) -> str:
        return f"<Windows: {len(self._large)} large, {self._unadmitted!r}>"
