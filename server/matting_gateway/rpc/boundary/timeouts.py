# SPDX-License-Identifier: Apache-2.0
"""Time-outs of equal length, many at once, for the price of one timer."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Timeouts:
    """Acts on what takes longer than `seconds`.

    All wait equally long, so they expire in the order in which they began, and a queue with one
    timer for its first serves them all. `asyncio.timeout` sets a timer for each, which costs more
    than the rest of a short block. Owns those under way, by whom they are for; touched on the event
    loop only. Invariant: while there are any, the timer is set for no later than the first one's end.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._under_way: dict[object, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, owner: object, act: Callable[[], None]) -> None:
        """Have `act` called once the time is over, unless it is ended before. One at a time for each owner."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self.seconds
        self._under_way[owner] = ends_s, act
        if self._timer is None:
            self._timer = loop.call_at(ends_s, self._look, loop)

    def end(self, owner: object) -> None:
        """Let the owner take all its time; without effect once that is over."""
        self._under_way.pop(owner, None)

    def expire(self, owner: object) -> None:
        """Act now; without effect where it has ended."""
        found = self._under_way.pop(owner, None)
        if found is not None:
            found[1]()

    def block(self) -> "Block":
        """Return a context that raises TimeoutError if it is not left in time; for use within a task."""
        return Block(self)

    def __repr__(self) -> str:
        return f"<Timeouts of {self.seconds:g} s: {len(self._under_way)} under way>"

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        while self._under_way:
            owner, (ends_s, _) = next(iter(self._under_way.items()))
            if ends_s > now_s:
                self._timer = loop.call_at(ends_s, self._look, loop)
                return
            self.expire(owner)


class Block:
    """A block of a task's that has its time."""

    __slots__ = ("_cancelling", "_expired", "_owner", "_task")

    def __init__(self, owner: Timeouts) -> None:
        self._owner = owner
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    def expire(self) -> None:
        """End it now; without effect on a block that has ended."""
        self._owner.expire(self)

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time-out needs a task to end")
        self._task = task
        self._cancelling = task.cancelling()
        self._owner.begin(self, self._expire)
        return self

    def _expire(self) -> None:
        if self._task is not None:
            self._expired = True
            self._task.cancel()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._owner.end(self)
        # A cancellation of another's beside ours goes on as one (asyncio.Timeout does the same).
        if (
            self._expired
            and task is not None
            and task.uncancel() <= self._cancelling
            and isinstance(exc, asyncio.CancelledError)
        ):
            raise TimeoutError from exc
