# SPDX-License-Identifier: Apache-2.0
"""How much is asked for beside how much can be done: the one figure to scale by. Pure: no clock, no asyncio."""

_PART_S = 0.1
_PARTS = 10


class OfferedLoad:
    """What callers offered during the last second, in seconds of work for all instances of their model together.

    1.0 is as much as the Tritons can do; refused calls count like all others, since early refusal keeps queues
    short and every figure that is taken from queues low. Owns sums for each tenth of a second; bounded, whatever comes.
    """

    __slots__ = ("_calls", "_now_part", "_refused", "_work_s")

    def __init__(self) -> None:
        self._work_s = [0.0] * _PARTS
        self._calls = [0] * _PARTS
        self._refused = [0] * _PARTS
        self._now_part = 0

    def note(self, rows: int, rate: float, now_s: float) -> None:
        """Count a job of so many rows, where `rate` rows a second can be done; 0.0 while that is not known."""
        index = self._advance(now_s)
        self._calls[index] += 1
        if rate > 0.0:
            self._work_s[index] += rows / rate

    def note_refused(self, now_s: float) -> None:
        """Count a call that was refused before anybody knew what it asks; it is taken to ask what the others do."""
        self._refused[self._advance(now_s)] += 1

    def utilization(self, now_s: float) -> float:
        """Return what was offered over what can be done, from 0.0 on."""
        parts = self._live_parts(now_s)
        calls = sum(self._calls[index] for index in parts)
        work_s = sum(self._work_s[index] for index in parts)
        refused = sum(self._refused[index] for index in parts)
        return work_s / (_PARTS * _PART_S) * (1.0 + refused / calls if calls else 1.0)

    def _live_parts(self, now_s: float) -> list[int]:
        """Return the places of the sums that are of the last second; asking changes nothing."""
        oldest = int(now_s / _PART_S) - _PARTS
        return [part % _PARTS for part in range(max(oldest + 1, self._now_part - _PARTS + 1), self._now_part + 1)]

    def _advance(self, now_s: float) -> int:
        """Empty the sums whose time is over; return the place of the one of now."""
        part = int(now_s / _PART_S)
        if part <= self._now_part:
            return self._now_part % _PARTS
        for old in range(max(self._now_part + 1, part - _PARTS + 1), part + 1):
            index = old % _PARTS
            self._work_s[index], self._calls[index], self._refused[index] = 0.0, 0, 0
        self._now_part = part
        return part % _PARTS

    def __repr__(self) -> str:
        return f"<OfferedLoad of {sum(self._calls)} calls>"
