# SPDX-License-Identifier: Apache-2.0
"""Requests that no call comes of: who takes what follows their headers."""

import asyncio
from collections.abc import Callable

# A request that is none of gRPC's is answered after so long even if it has not ended.
_ANSWER_AFTER_S = 1.0


class Discard:
    """Takes what comes on a stream that has been answered."""

    def room(self) -> memoryview | None:
        return None

    def wrote(self, byte_count: int) -> None: ...

    def feed(self, data: memoryview) -> None: ...

    def ended(self) -> None: ...

    def lost(self, text: str) -> None: ...


class NotACall(Discard):
    """Takes a request that is none of gRPC's, and keeps nothing of it.

    It is answered once it is complete, as HTTP's clients expect and since only then it is known to be well-formed; or
    once it has sent all that it may, or has taken too long. Owns the count of that, and a timer. Invariant: `answer`
    is called once at the most, and not after `lost`.

    Args:
        answer: Answers it.
        most_bytes: What it may send.
    """

    def __init__(self, answer: Callable[[], None], *, most_bytes: int) -> None:
        self._answer = answer
        self._left_bytes = most_bytes
        self._timer = asyncio.get_running_loop().call_later(_ANSWER_AFTER_S, self._end)

    def feed(self, data: memoryview) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes <= 0:
            self._end()

    def ended(self) -> None:
        self._end()

    def lost(self, text: str) -> None:
        del text
        self._timer.cancel()

    def _end(self) -> None:
        if not self._timer.cancelled():
            self._timer.cancel()
            self._answer()
