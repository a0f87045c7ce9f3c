# SPDX-License-Identifier: Apache-2.0
"""Whether a machine has changed its speed, or a batch was an accident. Pure: no clock, no asyncio."""

_ACCIDENT = 1.3  # so many times off is an accident, ...
_SLOWER_STREAK = 4  # ... so many slow ones in a row are a change for the worse, ...
_QUICKER_STREAK = 3  # ... and so many quick ones a change for the better


class SpeedChange:
    """Owns the batches in a row that were all slower than believed, or all quicker: their times as ratios."""

    __slots__ = ("_ratios",)

    def __init__(self) -> None:
        self._ratios: list[float] = []

    @property
    def suspected(self) -> bool:
        """Whether the last batch was off, and there were too few like it to tell an accident from a change."""
        return bool(self._ratios)

    def note(self, ratio: float) -> float | None:
        """Note a batch that took `ratio` times what was believed; return how many times it is now if that changed."""
        ratios = self._ratios
        if 1.0 / _ACCIDENT <= ratio <= _ACCIDENT:
            if ratios:
                ratios.clear()
            return None
        if ratios and (ratios[-1] > 1.0) != (ratio > 1.0):
            ratios.clear()
        ratios.append(ratio)
        if len(ratios) < (_SLOWER_STREAK if ratio > 1.0 else _QUICKER_STREAK):
            return None
        change = sorted(ratios)[len(ratios) // 2]
        ratios.clear()
        return change

    def forget(self) -> None:
        self._ratios.clear()
