# SPDX-License-Identifier: Apache-2.0
"""Time-outs of equal length, many at once, for the price of one timer."""

import asyncio
from types import TracebackType
from typing import Self


class Timeouts:
    """Ends blocks that take longer than `seconds`, as `asyncio.timeout` does.

    All wait equally long, so they expire in the order in which they began, and a queue with one
    timer for its first serves them all. `asyncio.timeout` sets a timer for each, which costs more
    than the rest of a short block. Owns the blocks under way; touched on the event loop only.
    Invariant: while there are any, the timer is set for no later than the first one's end.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._blocks: dict[Block, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def block(self) -> "Block":
        """Return a context that raises TimeoutError if it is not left in time; for use within a task."""
        return Block(self)

    def __repr__(self) -> str:
        return f"<Timeouts of {self.seconds:g} s: {len(self._blocks)} under way>"

    def _begin(self, block: "Block", loop: asyncio.AbstractEventLoop) -> None:
        self._blocks[block] = None
        if self._timer is None:
            self._timer = loop.call_at(block.ends_s, self._look, loop)

    def _end(self, block: "Block") -> None:
        self._blocks.pop(block, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        while self._blocks:
            block = next(iter(self._blocks))
            if block.ends_s > now_s:
                self._timer = loop.call_at(block.ends_s, self._look, loop)
                return
            block.expire()


class Block:
    """One block. `ends_s` is in the loop's time."""

    __slots__ = ("_cancelling", "_expired", "_owner", "_task", "ends_s")

    def __init__(self, owner: Timeouts) -> None:
        self._owner = owner
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False
        self.ends_s = 0.0

    def expire(self) -> None:
        """End it now; without effect on a block that has ended."""
        self._owner._end(self)
        if self._task is not None and not self._expired:
            self._expired = True
            self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time-out needs a task to end")
        self._task = task
        self._cancelling = task.cancelling()
        loop = task.get_loop()
        self.ends_s = loop.time() + self._owner.seconds
        self._owner._begin(self, loop)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._owner._end(self)
        # A cancellation of another's beside ours goes on as one (asyncio.Timeout does the same).
        if (
            self._expired
            and task is not None
            and task.uncancel() <= self._cancelling
            and isinstance(exc, asyncio.CancelledError)
        ):
            raise TimeoutError from exc
