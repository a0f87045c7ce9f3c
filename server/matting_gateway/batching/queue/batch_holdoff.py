# SPDX-License-Identifier: Apache-2.0
"""Whether a free slot waits a moment for jobs that are known to be on their way. Pure: no clock, no asyncio.

A gateway that is busy receiving is handed its jobs one by one. A free slot that took each at once would send
batches of one, and sending them would keep the gateway from receiving. So a slot waits while bodies are coming in
and jobs keep arriving, and never when none is. It does not wait for more than half of them: if all of a fixed set
of callers were collected in one batch, all would wait for their answers at once, and the gateway would idle. Block
layers plug a request queue for the same reason: the one who fills it is still adding requests.
"""


class BatchHoldoff:
    """Owns the count of bodies that are coming in, and since when jobs are gathered.

    Invariant: jobs are held for at most `most_s` in all, and `gap_s` after the last one that came, and
    while there are fewer of them than bodies still coming.
    """

    def __init__(self, *, gap_s: float, most_s: float) -> None:
        self._gap_s = gap_s
        self._most_s = most_s
        self._coming_count = 0
        self._since_s: float | None = None
        self._last_s = float("-inf")

    def begin(self) -> None:
        """Count a body that is coming in; it may still turn out to be no job."""
        self._coming_count += 1

    def end(self) -> None:
        """Count a body that has come, or will not."""
        self._coming_count -= 1

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *exc: object) -> None:
        self.end()

    def arrived(self, now_s: float) -> None:
        """Note that a job came."""
        self._last_s = now_s

    def sent(self) -> None:
        """Note that all that could be sent was sent."""
        self._since_s = None

    def hold_s(self, waiting_count: int, now_s: float) -> float:
        """Return how long the jobs that wait are to be held from now on, 0.0 for not at all."""
        if self._coming_count <= waiting_count:
            return 0.0
        if self._since_s is None:
            self._since_s = now_s
        return max(0.0, min(self._last_s + self._gap_s, self._since_s + self._most_s) - now_s)

    def __repr__(self) -> str:
        return f"<BatchHoldoff: {self._coming_count} bodies are coming in>"
