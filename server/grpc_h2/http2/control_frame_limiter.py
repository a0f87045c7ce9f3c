# SPDX-License-Identifier: Apache-2.0
"""How much of what costs work and brings no call a peer may send."""

from collections.abc import Callable

from grpc_h2.http2.wire.errors import ConnectionFault
from grpc_h2.http2.wire.frames import ENHANCE_YOUR_CALM


class ControlFrameLimiter:
    """A token bucket: `burst` of such frames at once, then `per_s`. Owns its level."""

    def __init__(self, *, burst: int, per_s: int, now: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._now = now
        self._left: float = burst
        self._at_s = now()

    def spend(self) -> None:
        """Take one more.

        Raises:
            ConnectionFault: There were too many.
        """
        if self._left < 1:
            now_s = self._now()
            self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
            self._at_s = now_s
            if self._left < 1:
                raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames that carry no call")
        self._left -= 1
