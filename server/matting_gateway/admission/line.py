# SPDX-License-Identifier: Apache-2.0
"""Those who wait for memory, in their order."""

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from matting_gateway.admission.permit import Permit
from matting_gateway.admission.sender import Sender
from matting_gateway.domain.job import Priority
from matting_gateway.errors import OverloadedError

# The share of places, and of memory held for slow callers, that one group must leave to the others.
KEPT_SHARE = 0.125
# Messages up to this size are negligible beside any budget.
SMALL_BYTES = 2 << 20


@dataclass(slots=True, eq=False)
class Waiter:
    """One who waits.

    Attributes:
        byte_count: What is missing.
        deadline_s: When it is too late, in seconds of the clock.
        judged_bytes: The whole of what the call will hold while it is in work; 0 where that is not known yet.
        sender: Whose message it is for, where that matters.
        permit: What is held already and is to grow; None: a new one is asked for.
        future: Gets the permit, or why there is none.
    """

    byte_count: int
    deadline_s: float
    judged_bytes: int
    sender: Sender | None = None
    permit: Permit | None = None
    future: asyncio.Future[Permit] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def group(self) -> str | None:
        return None if self.sender is None else self.sender.group


class Line:
    """Orders by priority, by size where `small_first`, and by deadline.

    Owns who waits, and how many of each group do. Invariant: the counts are those over waiters in `join` to `leave`.

    Args:
        max_count: So many may wait.
        small_first: Whether the larger of two sizes stands behind, whatever its deadline.
    """

    def __init__(self, max_count: int, *, small_first: bool) -> None:
        self._max_count = max_count
        self._small_first = small_first
        self._heap: list[tuple[int, int, float, int, Waiter]] = []
        self._sequence = itertools.count()
        self._by_group: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many have a place, those among them who have just been told."""
        return len(self._heap)

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for *_, waiter in self._heap if not waiter.future.done())

    def join(self, waiter: Waiter, priority: Priority) -> bool:
        """Put somebody in the line; tell whether there was a place, or one could be made."""
        if len(self._heap) >= self._max_count and not self._make_place(waiter.group):
            return False
        size = max(0, waiter.byte_count.bit_length() - SMALL_BYTES.bit_length()) if self._small_first else 0
        heapq.heappush(self._heap, (priority, size, waiter.deadline_s, next(self._sequence), waiter))
        if waiter.group is not None:
            self._by_group[waiter.group] += 1
        return True

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter out of the count of its group."""
        group = waiter.group
        if group is not None:
            self._by_group[group] -= 1
            if not self._by_group[group]:
                del self._by_group[group]

    def first(self) -> Waiter | None:
        """Return who is next."""
        while self._heap and self._heap[0][-1].future.done():
            heapq.heappop(self._heap)
        return self._heap[0][-1] if self._heap else None

    def too_many(self) -> OverloadedError:
        """Return what to tell who has no place."""
        text = f"{self._max_count} calls wait for memory already; try again later."
        return OverloadedError(text, retry_after_s=1.0)

    def _make_place(self, group: str | None) -> bool:
        """Send away the last who waits of a group that leaves others too few places; tell whether there is one."""
        most = int(self._max_count * (1 - KEPT_SHARE))
        crowding = {other for other, count in self._by_group.items() if count > most and other != group}
        theirs = [entry for entry in self._heap if entry[-1].group in crowding and not entry[-1].future.done()]
        if not theirs:
            return False
        last = max(theirs)
        self._heap.remove(last)
        heapq.heapify(self._heap)
        last[-1].future.set_exception(self.too_many())
        return True
