# SPDX-License-Identifier: Apache-2.0
"""What was seen of each call, column by column, and a running tally for a watcher."""

from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from matting_load.sending.samples import Samples, join_samples

# How far back a watcher's percentiles look, in answers.
RECENT_COUNT = 2_000


@dataclass(frozen=True, slots=True, repr=False)
class Records:
    """One row a call, in order of completion; times in seconds from the start of the test.

    `due_s` is when the call should have been sent, `sent_s` when it was, `done_s` when its outcome
    was known. `outcome` indexes `outcome_names`; `deadline_class` and `payload` index the plan's. `errors` has
    what servers said of failed calls, by outcome. `stopped_s` is when the test was ended early, None
    where it was not.
    """

    due_s: npt.NDArray[np.float64]
    sent_s: npt.NDArray[np.float64]
    done_s: npt.NDArray[np.float64]
    outcome: npt.NDArray[np.int32]
    deadline_class: npt.NDArray[np.int32]
    payload: npt.NDArray[np.int32]
    outcome_names: tuple[str, ...]
    cpu_s: float = 0.0
    wall_s: float = 0.0
    errors: Samples = field(default_factory=dict)
    stopped_s: float | None = None

    def __repr__(self) -> str:
        return f"<Records of {len(self.due_s)} calls>"

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Return which calls had this outcome."""
        if name not in self.outcome_names:
            return np.zeros(len(self.outcome), dtype=np.bool_)
        chosen: npt.NDArray[np.bool_] = self.outcome == self.outcome_names.index(name)
        return chosen


@dataclass(frozen=True, slots=True)
class Tally:
    """How a test stands, for a watcher: counts so far, and latencies of the most recent good answers."""

    due_count: int = 0
    outstanding_count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    recent_latencies_s: tuple[float, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.due_count + other.due_count,
            self.outstanding_count + other.outstanding_count,
            self.outcomes + other.outcomes,
            self.recent_latencies_s + other.recent_latencies_s,
        )


class Recorder:
    """Collects rows. Owns the columns; used on one event loop."""

    def __init__(self) -> None:
        self._times = (array("d"), array("d"), array("d"))
        self._indices = (array("i"), array("i"), array("i"))
        self._names: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._recent: deque[float] = deque(maxlen=RECENT_COUNT)
        self._due_count = 0

    def due(self) -> None:
        """Note that a call came due."""
        self._due_count += 1

    def add(
        self, due_s: float, sent_s: float, done_s: float, *, outcome: str, deadline_class: int, payload: int
    ) -> None:
        """Note how a call ended."""
        for column, value in zip(self._times, (due_s, sent_s, done_s), strict=True):
            column.append(value)
        index = self._names.setdefault(outcome, len(self._names))
        for indices, number in zip(self._indices, (index, deadline_class, payload), strict=True):
            indices.append(number)
        self._counts[outcome] += 1
        if outcome == "ok":
            self._recent.append(done_s - due_s)

    def tally(self) -> Tally:
        done_count = len(self._times[0])
        return Tally(self._due_count, self._due_count - done_count, self._counts.copy(), tuple(self._recent))

    def records(self, cpu_s: float, wall_s: float) -> Records:
        """Return all rows; `cpu_s` of processor time were spent in `wall_s`."""
        times = [np.array(column, dtype=np.float64) for column in self._times]
        indices = [np.array(column, dtype=np.int32) for column in self._indices]
        return Records(
            times[0], times[1], times[2], indices[0], indices[1], indices[2], tuple(self._names), cpu_s, wall_s
        )


def merge(parts: Sequence[Records]) -> Records:
    """Join what several processes saw. Processor time adds up; wall time is the longest."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.outcome_names))
    outcome = [
        np.array([names.index(name) for name in part.outcome_names] or [0], dtype=np.int32)[part.outcome]
        for part in parts
    ]
    return Records(
        due_s=np.concatenate([part.due_s for part in parts]),
        sent_s=np.concatenate([part.sent_s for part in parts]),
        done_s=np.concatenate([part.done_s for part in parts]),
        outcome=np.concatenate(outcome),
        deadline_class=np.concatenate([part.deadline_class for part in parts]),
        payload=np.concatenate([part.payload for part in parts]),
        outcome_names=names,
        cpu_s=sum(part.cpu_s for part in parts),
        wall_s=max(part.wall_s for part in parts),
        errors=join_samples(part.errors for part in parts),
        stopped_s=min((part.stopped_s for part in parts if part.stopped_s is not None), default=None),
    )
