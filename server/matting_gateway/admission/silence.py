# SPDX-License-Identifier: Apache-2.0
"""Callers who hold memory and let it wait: for a message that does not come, for an answer that they do not read.

While others wait for memory they give way, as soon as they are behind a least pace: a drip is as good at holding
memory as silence is. Nobody is sent away for it as long as there is memory for everybody.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from matting_gateway.admission.permit import Permit
from matting_gateway.clock import Clock

# Good time: a moment, a short one for who has not really begun, and what has come or gone takes at the least pace.
# Where it is not known how much of a message has come, what it may have counts, up to the longest time.
_MOMENT_S = 1.0
_SHORT_MOMENT_S = 0.25
_BEGUN_BYTES = 32 << 10
_SLOW_BYTES_PER_S = 1 << 20
_LONGEST_S = 5.0
# One at a time, so that a crowd that waits does not have all of its like sent away at once: then nobody's time would be
# over for a while, and who comes next would have to wait for it.
_PAUSE_S = 0.01


def good_time_s(message_bytes: int) -> float:
    """Return how long a message of at most so many bytes may take to come while others wait, in whole seconds."""
    return min(_LONGEST_S, _MOMENT_S + message_bytes // _SLOW_BYTES_PER_S)


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

    def due_s(self) -> float:
        return self.since_s + self.good_s()


class Silence:
    """The permits that wait for their callers.

    Owns them, in the order in which they began to wait, and one timer; touched on the event
    loop only. Invariants: a permit is asked to give way at most once, only after its good time and
    only while somebody waits whom its memory could help, at most 100 a second; while somebody
    waits, the timer is set for no later than when the next one's time will be over.

    Args:
        clock: Tells the time.
        helpful: Of which holders, by whether they promised their size, memory would help those who wait; none: nobody
            waits.
    """

    def __init__(self, *, clock: Clock, helpful: Callable[[], Collection[bool]]) -> None:
        self._clock = clock
        self._helpful = helpful
        # By whether a size was promised: those who promised nothing have a bound of their own.
        self._slow: dict[bool, dict[Permit, _Slow]] = {False: {}, True: {}}
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at: Collection[bool] = ()  # for whom the timer is set
        self._not_before_s = float("-inf")

    def begin(self, permit: Permit, good_s: Callable[[], float], give_way: Callable[[], None]) -> "Silent":
        """Count a caller as slow until what is returned is ended.

        Args:
            permit: What it holds.
            good_s: Tells how long it may wait in all, as things are; never less than before.
            give_way: Must lead to the permit's release, soon.
        """
        slow = self._slow[permit.promised]
        slow[permit] = _Slow(self._clock.now(), good_s, give_way)
        self.press()
        return Silent(slow, permit)

    @property
    def pressing(self) -> bool:
        """Whether it is being looked after that somebody gives way."""
        return self._timer is not None

    def press(self) -> None:
        """Have one slow caller give way for those who wait, or look again when one will have had its time."""
        helpful = self._helpful()
        if self._timer is not None:
            if helpful and set(helpful) <= set(self._looked_at):
                return
            self._timer.cancel()
            self._timer = None
        if helpful:
            self._press(helpful)

    def _press(self, helpful: Collection[bool]) -> None:
        now_s = self._clock.now()
        found = self._slowest(helpful, now_s)
        if found is None:
            if any(self._slow[kind] for kind in helpful):
                self._look_at(now_s + _SHORT_MOMENT_S, now_s, helpful)
            return
        permit, slow = found
        at_s = max(slow.due_s(), self._not_before_s)
        if at_s > now_s:
            self._look_at(min(at_s, now_s + _SHORT_MOMENT_S), now_s, helpful)
            return
        self._not_before_s = now_s + _PAUSE_S
        for kind in helpful:
            self._slow[kind].pop(permit, None)
        slow.give_way()  # the release that follows tells whether that was enough

    def _slowest(self, helpful: Collection[bool], now_s: float) -> tuple[Permit, _Slow] | None:
        """Return whose time is over first, of those whose time can be over by now."""
        slowest: tuple[Permit, _Slow] | None = None
        first_s = float("inf")
        for kind in helpful:
            for permit, slow in self._slow[kind].items():
                if slow.since_s + _SHORT_MOMENT_S > now_s:
                    break  # as are those that follow
                due_s = slow.due_s()
                if due_s < first_s:
                    slowest, first_s = (permit, slow), due_s
        return slowest

    def _look_at(self, at_s: float, now_s: float, helpful: Collection[bool]) -> None:
        self._looked_at = tuple(helpful)
        self._timer = asyncio.get_running_loop().call_later(at_s - now_s, self._look)

    def _look(self) -> None:
        self._timer = None
        self.press()


class Silent:
    """A caller who holds memory that waits, until it is ended or its block is left."""

    __slots__ = ("_permit", "_slow")

    def __init__(self, slow: dict[Permit, _Slow], permit: Permit) -> None:
        self._slow = slow
        self._permit = permit

    def end(self) -> None:
        self._slow.pop(self._permit, None)

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        self.end()
