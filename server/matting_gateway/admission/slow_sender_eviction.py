# SPDX-License-Identifier: Apache-2.0
"""Callers who hold memory and let it wait: for a message that does not come, for an answer that they do not read.

While others wait for memory they give way, as soon as they are behind a least pace: who sends a byte now and then
holds as much memory as who sends nothing. Nobody is sent away for it as long as there is memory for everybody.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from matting_gateway.admission.permit import Awaiting, Permit
from matting_gateway.clock import Clock

# A caller may take a moment (a short one where it has hardly begun) and what the bytes moved so far take at the least
# pace. Where it is not known how much of a message has come, its whole size counts, up to the longest time.
_MOMENT_S = 1.0
_SHORT_MOMENT_S = 0.25
_BEGUN_BYTES = 32 << 10
_ON_ITS_WAY_S = 0.5
_SLOW_BYTES_PER_S = 1 << 20
_LONGEST_S = 5.0
# Evictions are this far apart: were all slow callers evicted at once, none would be overdue for a while, and the next
# newcomer would have to wait until one is.
_PAUSE_S = 0.01


def good_time_s(message_bytes: int) -> float:
    """Return how long a message of at most so many bytes may take to come while others wait, in whole seconds."""
    return min(_LONGEST_S, _MOMENT_S + message_bytes // _SLOW_BYTES_PER_S)


def sending_time_s(before_bytes: int, arrived_bytes: int) -> float:
    """Return how long the rest of a message may take to come while others wait.

    Args:
        before_bytes: What had come when memory was granted: who had sent much waits for its window to be opened, which
            takes a round trip.
        arrived_bytes: What is there now.
    """
    on_its_way_s = _ON_ITS_WAY_S if before_bytes >= _BEGUN_BYTES else 0.0
    return min(_LONGEST_S, max(on_its_way_s, pace_s(arrived_bytes - before_bytes)))


def pace_s(moved_bytes: int) -> float:
    """Return how long who has sent, or taken, so many bytes may have needed for it while others wait."""
    moment_s = _MOMENT_S if moved_bytes >= _BEGUN_BYTES else _SHORT_MOMENT_S
    return moment_s + moved_bytes / _SLOW_BYTES_PER_S


@dataclass(slots=True, eq=False)
class _Slow:
    """One who holds memory, since when, and for how long it may: that can grow with what moves."""

    since_s: float
    good_s: Callable[[], float]
    give_way: Callable[[], None]
    byte_count: int

    def due_s(self) -> float:
        return self.since_s + self.good_s()


@dataclass(frozen=True, slots=True)
class Need:
    """Who waits for memory.

    `kinds` says of which permits, by whether their size was promised, memory would help; `group` whose the first is
    that waits; of permits that wait for their callers another group may hold `most_of_a_group` bytes meanwhile.
    """

    kinds: tuple[bool, ...]
    group: str | None
    most_of_a_group: int


class SlowSenderEviction:
    """The permits that wait for their callers.

    Owns them, in the order in which they began to wait, and one timer; touched on the event
    loop only. Invariants: a permit is asked to give way at most once, only after its good time (or where its group
    has too large a part) and only while somebody waits whom its memory could help, at most 100 a second; while
    somebody waits, the timer is set for no later than when the next one's time will be over.

    Args:
        clock: Tells the time.
        need: Tells who waits for memory; None: nobody does.
    """

    def __init__(self, *, clock: Clock, need: Callable[[], Need | None]) -> None:
        self._clock = clock
        self._need = need
        # By whether a size was promised: those who promised nothing have a bound of their own.
        self._slow: dict[bool, dict[Permit, _Slow]] = {False: {}, True: {}}
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at: tuple[bool, ...] = ()  # for which kinds the timer is set
        self._not_before_s = float("-inf")

    def begin(self, permit: Permit, good_s: Callable[[], float], give_way: Callable[[], None]) -> Awaiting:
        """Count a caller as slow until what is returned is ended.

        Args:
            permit: What it holds.
            good_s: Tells how long it may wait in all, as things are; never less than before.
            give_way: Must lead to the permit's release, soon.
        """
        slow = self._slow[permit.promised]
        slow[permit] = _Slow(self._clock.now(), good_s, give_way, permit.byte_count)
        self.press()
        return Awaiting(functools.partial(slow.pop, permit, None))

    @property
    def pressing(self) -> bool:
        """Whether a look for a caller to evict is scheduled."""
        return self._timer is not None

    def press(self) -> None:
        """Have one slow caller give way for those who wait, or look again when one will have had its time."""
        need = self._need()
        if self._timer is not None:
            if need is not None and need.kinds == self._looked_at:
                return
            self._timer.cancel()
            self._timer = None
        if need is not None:
            self._press(need)

    def _press(self, need: Need) -> None:
        now_s = self._clock.now()
        found = self._slowest(need, now_s)
        if found is None:
            if any(self._slow[kind] for kind in need.kinds):
                self._look_at(now_s + _SHORT_MOMENT_S, now_s, need)
            return
        permit, due_s = found
        at_s = max(due_s, self._not_before_s)
        if at_s > now_s:
            self._look_at(min(at_s, now_s + _SHORT_MOMENT_S), now_s, need)
            return
        self._not_before_s = now_s + _PAUSE_S
        slow = next(slow for kind in need.kinds if (slow := self._slow[kind].pop(permit, None)) is not None)
        slow.give_way()  # the release that follows tells whether that was enough

    def _slowest(self, need: Need, now_s: float) -> tuple[Permit, float] | None:
        """Return whose time is over first, and when it is, of those whose time can be over by now."""
        crowding = self._crowding(need)
        slowest: tuple[Permit, float] | None = None
        for kind in need.kinds:
            for permit, slow in self._slow[kind].items():
                crowds = crowding is not None and _group_of(permit) == crowding
                if not crowds and slow.since_s + _SHORT_MOMENT_S > now_s:
                    if crowding is None:
                        break  # those that follow began later still
                    continue
                due_s = slow.since_s if crowds else slow.due_s()
                if slowest is None or due_s < slowest[1]:
                    slowest = permit, due_s
        return slowest

    def _crowding(self, need: Need) -> str | None:
        """Return the group of which too much waits for its callers, as another's call waits for memory."""
        held: Counter[str] = Counter()
        for kind in need.kinds:
            for permit, slow in self._slow[kind].items():
                group = _group_of(permit)
                if group is not None and group != need.group:
                    held[group] += slow.byte_count
        return next((group for group, byte_count in held.items() if byte_count > need.most_of_a_group), None)

    def _look_at(self, at_s: float, now_s: float, need: Need) -> None:
        self._looked_at = need.kinds
        self._timer = asyncio.get_running_loop().call_later(at_s - now_s, self._look)

    def _look(self) -> None:
        self._timer = None
        self.press()


def _group_of(permit: Permit) -> str | None:
    return None if permit.sender is None else permit.sender.group
