# SPDX-License-Identifier: Apache-2.0
"""How long a call of a size is likely to hold its permit. Pure: no clock.

Mean and mean deviation, smoothed, as TCP estimates round trips (Jacobson 1988, RFC 6298): in order of
deadline the calls admitted under overload have just the time left that they are thought to need,
and an estimate that half of them exceed would waste half of the work.
"""

_MEAN_SHARE = 0.2
_DEVIATION_SHARE = 0.25
_DEVIATIONS = 2.0


class WorkTimes:
    """Owns the estimates, one for each order of magnitude of the bytes asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, float]] = {}

    def answered(self, byte_count: int, held_s: float) -> None:
        """Learn from a call that was answered."""
        size = byte_count.bit_length()
        mean_s, deviation_s = self._known.get(size, (held_s, held_s / 4))
        miss_s = held_s - mean_s
        self._known[size] = (
            mean_s + _MEAN_SHARE * miss_s,
            deviation_s + _DEVIATION_SHARE * (abs(miss_s) - deviation_s),
        )

    def given_up(self, byte_count: int, held_s: float) -> None:
        """Learn from a call that ended without an answer: it would have taken longer. An early end tells nothing."""
        known = self._known.get(byte_count.bit_length())
        if known is not None and held_s > known[0]:
            self.answered(byte_count, held_s)

    def expected_s(self, byte_count: int) -> float:
        """Return how long a call takes with some certainty, 0.0 while nothing is known."""
        mean_s, deviation_s = self._known.get(byte_count.bit_length(), (0.0, 0.0))
        return mean_s + _DEVIATIONS * deviation_s

    def __repr__(self) -> str:
        known = {1 << size: round(mean_s, 3) for size, (mean_s, _) in self._known.items()}
        return f"<WorkTimes {known}>"
