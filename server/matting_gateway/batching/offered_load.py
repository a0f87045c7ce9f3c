# SPDX-License-Identifier: Apache-2.0
"""How much is asked for beside how much can be done: the one figure to scale by. Pure: no clock, no asyncio."""

from dataclasses import dataclass

_PART_S = 0.1
_PARTS = 11  # of the last second, and of the tenth of a second that it begins in


@dataclass(slots=True)
class _Part:
    """What was offered during a tenth of a second."""

    model_s: float = 0.0
    imaging_s: float = 0.0
    jobs: int = 0
    photos: int = 0
    unseen: int = 0


class OfferedLoad:
    """What callers offered during the last second, in seconds of work for all that can do it together.

    1.0 is as much as the Tritons can do, or the imaging workers where they can do less; refused calls count like all
    others, since early refusal keeps queues short and every figure that is taken from queues low. A call that has to
    wait, or is refused, before anybody has seen what it asks is taken to ask what the others do. Owns sums for each
    tenth of a second; bounded, whatever comes.
    """

    __slots__ = ("_now_part", "_parts", "_usual_s")

    def __init__(self) -> None:
        self._parts = [_Part() for _ in range(_PARTS)]
        self._now_part = 0
        self._usual_s = 0.0  # of work that a call asked when any were seen last

    def note(self, rows: int, rate: float, now_s: float) -> None:
        """Count a job of so many rows, where `rate` rows a second can be done; 0.0 while that is not known."""
        part = self._advance(now_s)
        part.jobs += 1
        if rate > 0.0:
            part.model_s += rows / rate

    def note_photo(self, imaging_s: float, now_s: float) -> None:
        """Count what a photo asks of the imaging workers: so many seconds of all of them together."""
        part = self._advance(now_s)
        part.photos += 1
        part.imaging_s += imaging_s

    def note_unseen(self, count: int, now_s: float) -> None:
        """Count calls that nobody has seen into: 1 for one that waits or is refused so, -1 for one that is let in."""
        self._advance(now_s).unseen += count

    def utilization(self, now_s: float) -> float:
        """Return what was offered over what can be done, from 0.0 on. Asking changes nothing."""
        number = _part(now_s)
        oldest = number - _PARTS + 1
        # Of the oldest tenth counts as much as is still of the last second.
        shares = {oldest: oldest + 1 - (now_s / _PART_S - _PARTS + 1)}
        live = range(max(oldest, self._now_part - _PARTS + 1), self._now_part + 1)
        work_s, seen, unseen = _sums([(self._parts[one % _PARTS], shares.get(one, 1.0)) for one in live])
        return work_s * (1.0 + unseen / seen) if seen else unseen * self._usual_s

    def _advance(self, now_s: float) -> _Part:
        """Return the sums of now, those whose time is over emptied."""
        number = _part(now_s)
        if number <= self._now_part:
            return self._parts[self._now_part % _PARTS]
        work_s, seen, _ = _sums([(part, 1.0) for part in self._parts])
        if seen:
            self._usual_s = work_s / seen
        for old in range(max(self._now_part, number - _PARTS) + 1, number + 1):
            self._parts[old % _PARTS] = _Part()
        self._now_part = number
        return self._parts[number % _PARTS]

    def __repr__(self) -> str:
        return f"<OfferedLoad of {sum(part.jobs for part in self._parts)} jobs>"


def _part(now_s: float) -> int:
    return int(now_s / _PART_S)


def _sums(parts: list[tuple[_Part, float]]) -> tuple[float, float, float]:
    """Return seconds of work seen, calls seen, and calls not seen, of which more may be let in than came."""
    model_s = sum(part.model_s * share for part, share in parts)
    imaging_s = sum(part.imaging_s * share for part, share in parts)
    jobs = sum(part.jobs * share for part, share in parts)
    photos = sum(part.photos * share for part, share in parts)
    unseen = sum(part.unseen * share for part, share in parts)
    return max(model_s, imaging_s), max(jobs, photos), max(0.0, unseen)
