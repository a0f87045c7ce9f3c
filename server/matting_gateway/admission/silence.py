# SPDX-License-Identifier: Apache-2.0
"""Callers who hold memory for a message that does not come: while others wait, they give way.

Who has not sent all of a message in good time counts as silent, however much of it has come: a drip is as good at
holding memory as silence is. Nobody is sent away for it as long as there is memory for everybody.
"""

import asyncio
from collections.abc import Callable

from matting_gateway.admission.permit import Permit
from matting_gateway.clock import Clock

# Good time: a moment, and what the message needs on a slow line; whatever was promised, no longer than this.
_MOMENT_S = 1
_SLOW_BYTES_PER_S = 1 << 20
_LONGEST_S = 5
# One at a time, so that a crowd that waits does not have all of its like sent away at once: then nobody's time would be
# over for a while, and who comes next would have to wait for it.
_PAUSE_S = 0.01


def good_time_s(message_bytes: int) -> int:
    """Return how long a message of so many bytes may take to come while others wait, in whole seconds."""
    return min(_LONGEST_S, _MOMENT_S + message_bytes // _SLOW_BYTES_PER_S)


class Silence:
    """The permits of callers whose message has not come yet.

    Owns them, in the order in which their good time is over, and one timer; touched on the event
    loop only. Invariants: a permit is asked to give way at most once, only after its good time and
    only while somebody waits whom its memory could help, at most 100 a second; while somebody
    waits, the timer is set for the next whose time will be over.

    Args:
        clock: Tells the time.
        waits: Whether anybody waits for memory: of those who promised their size, or of the others.
    """

    def __init__(self, *, clock: Clock, waits: Callable[[bool], bool]) -> None:
        self._clock = clock
        self._waits = waits
        # By whether a size was promised (those who promised nothing have a bound of their own, so that only they can
        # make room for their like), and by good time: within one of these the first to come is the first to be due.
        self._silent: dict[bool, dict[int, dict[Permit, tuple[float, Callable[[], None]]]]] = {False: {}, True: {}}
        self._timer: asyncio.TimerHandle | None = None
        self._not_before_s = float("-inf")

    def begin(self, permit: Permit, message_bytes: int, give_way: Callable[[], None]) -> "Silent":
        """Count a caller as silent until what is returned is ended.

        Args:
            permit: What it holds.
            message_bytes: The most that its message may have.
            give_way: Must lead to the permit's release, soon.
        """
        good_s = good_time_s(message_bytes)
        silent = self._silent[permit.promised].setdefault(good_s, {})
        silent[permit] = (self._clock.now() + good_s, give_way)
        self.press()
        return Silent(silent, permit)

    @property
    def pressing(self) -> bool:
        """Whether it is being looked after that somebody gives way."""
        return self._timer is not None

    def press(self) -> None:
        """Have one silent caller give way for those who wait, or look again when one will have had its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for promised in (True, False):
            if self._waits(promised):
                self._press((False, True) if promised else (False,))

    def _press(self, kinds: tuple[bool, ...]) -> None:
        now_s = self._clock.now()
        first = [next(iter(of_kind.items())) for kind in kinds for of_kind in self._silent[kind].values() if of_kind]
        if not first:
            return
        permit, (due_s, give_way) = min(first, key=lambda entry: entry[1][0])
        at_s = max(due_s, self._not_before_s)
        if at_s > now_s:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(at_s - now_s, self.press)
            return
        self._not_before_s = now_s + _PAUSE_S
        for kind in kinds:
            for of_kind in self._silent[kind].values():
                of_kind.pop(permit, None)
        give_way()  # the release that follows tells whether that was enough


class Silent:
    """A caller whose message has not come yet, until it is ended or its block is left."""

    __slots__ = ("_permit", "_silent")

    def __init__(self, silent: dict[Permit, tuple[float, Callable[[], None]]], permit: Permit) -> None:
        self._silent = silent
        self._permit = permit

    def end(self) -> None:
        self._silent.pop(self._permit, None)

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        self.end()
