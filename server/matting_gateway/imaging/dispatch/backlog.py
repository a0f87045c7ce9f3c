# SPDX-License-Identifier: Apache-2.0
"""The photos that are in work, what each of them still takes of a worker, and whether one more would be done in time.

A photo takes a worker twice, for decoding and, after the model, for its results. What it needs of both, and what the
model takes in between, is asked for at its arrival: what cannot be done in time is refused before it costs anything, so
that all that it would have taken is left for those who can be answered. Pure: no clock, no asyncio.
"""

import bisect
import math
from dataclasses import dataclass

from matting_gateway.domain.job import Priority
from matting_gateway.imaging.dispatch.step_costs import StepKind

# Estimates of single steps miss by so much, and who is let in shall be answered.
_MARGIN = 1.15
_GAIN = 0.1  # what one photo's time between its steps counts among those before it


@dataclass(slots=True, eq=False)
class PhotoWork:
    """One photo's way through the workers.

    Attributes:
        deadline_s: When its answer has to be there, in seconds of the clock.
        priority: The smaller goes first.
        decode_s: What decoding will take a worker.
        between_s: What will pass between decoding and rendering.
        render_s: What making the results will take a worker.
        decoded: Whether it is decoded, as who has it done says; from then on it goes before all that are not.
        decode_kind: What makes others like it to decode; None where nothing is learned of it.
        render_kind: The same of its results.
        hopeful: Whether it is tried however long it may take, as nobody else was in work when it came.
    """

    deadline_s: float = math.inf
    priority: Priority = Priority.NORMAL
    decode_s: float = 0.0
    between_s: float = 0.0
    render_s: float = 0.0
    decoded: bool = False
    decode_kind: StepKind | None = None
    render_kind: StepKind | None = None
    hopeful: bool = True

    @property
    def left_s(self) -> float:
        """What it still takes of a worker."""
        return self.render_s if self.decoded else self.decode_s + self.render_s

    @property
    def latest_decode_s(self) -> float:
        """When it is too late to begin decoding."""
        return math.inf if self.hopeful else self.deadline_s - self.decode_s - self.between_s - self.render_s

    @property
    def latest_render_s(self) -> float:
        """When it is too late to begin with the results."""
        return math.inf if self.hopeful else self.deadline_s - self.render_s

    @property
    def model_deadline_s(self) -> float:
        """When the model has to have answered."""
        return self.deadline_s if self.hopeful else self.deadline_s - self.render_s


def _order(work: PhotoWork) -> tuple[int, float]:
    return work.priority, work.deadline_s


class Backlog:
    """Owns the photos in work, in the order in which those not decoded yet will be.

    Invariant: asking changes nothing. What is added is removed once.

    Args:
        worker_count: How many steps are done at a time.
    """

    def __init__(self, worker_count: int) -> None:
        self._worker_count = worker_count
        self._photos: list[PhotoWork] = []
        self.between_s = 0.0

    def __len__(self) -> int:
        return len(self._photos)

    def late_by_s(self, new: PhotoWork, now_s: float) -> float:
        """Return by how long a newcomer, or one whom it makes late, would miss its deadline; 0.0 where none would.

        Those of lower priority do not count. Of those in work, who is late already is no reason either.
        """
        waiting = [work for work in self._photos if not work.decoded]
        at = bisect.bisect_right(waiting, _order(new), key=_order)
        ahead_s = sum(work.left_s for work in self._photos if work.decoded) + sum(work.left_s for work in waiting[:at])
        late_s = self._end_s(new, ahead_s, now_s) - new.deadline_s
        if late_s > 0:
            return late_s
        for work in waiting[at:]:
            if work.priority != new.priority:
                break
            late_s = self._end_s(work, ahead_s + new.left_s, now_s) - work.deadline_s
            if late_s > 0 >= self._end_s(work, ahead_s, now_s) - work.deadline_s:
                return late_s
            ahead_s += work.left_s
        return 0.0

    def _end_s(self, work: PhotoWork, ahead_s: float, now_s: float) -> float:
        """Return when a photo will be done that has to wait for so much work of others."""
        return now_s + _MARGIN * (ahead_s / self._worker_count + work.left_s) + work.between_s

    def add(self, work: PhotoWork) -> None:
        bisect.insort_right(self._photos, work, key=_order)

    def remove(self, work: PhotoWork) -> None:
        self._photos.remove(work)

    def note_between(self, seconds: float) -> None:
        """Learn how long it takes from when a photo is decoded until the model has answered."""
        self.between_s += _GAIN * (seconds - self.between_s) if self.between_s else seconds

    def __repr__(self) -> str:
        decoded_count = sum(work.decoded for work in self._photos)
        return f"<Backlog of {len(self) - decoded_count} to decode, {decoded_count} to render>"
