# SPDX-License-Identifier: Apache-2.0
"""Permits by count and by bytes: memory is bounded before a body is read."""

import asyncio
import functools
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from matting_gateway.admission.permit import Awaiting, Permit
from matting_gateway.admission.sender import Sender
from matting_gateway.admission.silence import Need, Silence, good_time_s, pace_s, sending_time_s
from matting_gateway.admission.work_times import WorkTimes
from matting_gateway.clock import Clock
from matting_gateway.domain import Priority
from matting_gateway.errors import DeadlineExpiredError, OverloadedError
from matting_gateway.telemetry.metrics import Metrics

MIB = 1 << 20
# Of places and of memory that waits for callers, what a group leaves as soon as others need it.
_KEPT_SHARE = 0.125


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What may be held at once.

    `budget_bytes` bounds the sum of all permits. A call that did not promise its size is
    counted at the receive limit until its body is read; such calls together may hold at most
    `unpromised_share` of the budget, so that silent or slow ones never shut out the others.
    """

    budget_bytes: int = 2048 * MIB
    max_permit_count: int = 4096
    max_waiting_count: int = 4096
    unpromised_share: float = 0.5


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """What is held and who waits."""

    permit_count: int
    used_bytes: int
    unpromised_bytes: int
    waiting_count: int


@dataclass(slots=True, eq=False)
class _Waiter:
    byte_count: int
    promised: bool
    future: asyncio.Future[Permit]
    sender: Sender | None

    @property
    def group(self) -> str | None:
        return None if self.sender is None else self.sender.group


class Gate:
    """Grants permits, in order of priority and deadline among those who wait.

    Owns the sums of what is held and the heap of waiters; touched on the event loop only.
    Invariants: the sums equal those over permits not released; nobody waits who could be
    granted; nobody waits for a second permit while holding one (a permit is taken for the
    most a call may need), so waiting always ends.
    """

    def __init__(
        self,
        settings: GateSettings,
        *,
        clock: Clock,
        metrics: Metrics,
        unseen: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._settings = settings
        self._unseen = unseen  # told of callers who wait or are refused (1), and of those let in after all (-1)
        self._clock = clock
        self._metrics = metrics
        self._permit_count = 0
        self._used_bytes = 0
        self._unpromised_bytes = 0
        self._unpromised_limit = int(settings.budget_bytes * settings.unpromised_share)
        # Two heaps, so that callers who promise nothing cannot stand before those who do.
        self._waiting: dict[bool, list[tuple[int, float, int, _Waiter]]] = {True: [], False: []}
        self._sequence = itertools.count()
        self._waiting_by_group: Counter[str] = Counter()
        self._silence = Silence(clock=clock, need=self._need)
        self._work_times = WorkTimes()
        metrics.resident_images.set_function(lambda: self._permit_count)
        metrics.resident_bytes.set_function(lambda: self._used_bytes)

    def statistics(self) -> GateStatistics:
        waiting = sum(not w.future.done() for heap in self._waiting.values() for *_, w in heap)
        return GateStatistics(self._permit_count, self._used_bytes, self._unpromised_bytes, waiting)

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<Gate {s.permit_count} permits, {s.used_bytes} bytes, {s.waiting_count} waiting>"

    def try_acquire(self, byte_count: int, *, promised: bool = True, sender: Sender | None = None) -> Permit | None:
        """Return a permit if nobody waits and it fits now. More than the whole budget counts as the whole."""
        if self._waiting[promised]:
            return None
        byte_count = self._clamp(byte_count, promised=promised)
        return self._grant(byte_count, promised, sender) if self._fits(byte_count, promised=promised) else None

    async def acquire(
        self,
        byte_count: int,
        *,
        deadline_s: float,
        priority: Priority = Priority.NORMAL,
        promised: bool = True,
        sender: Sender | None = None,
    ) -> Permit:
        """Wait for a permit.

        Args:
            byte_count: The most that the call may need.
            deadline_s: When it is too late for it, in seconds of the clock.
            priority: Before the deadline, what orders those who wait.
            promised: Whether the caller promised that it needs no more.
            sender: Whose message it is for, where that matters.

        Raises:
            OverloadedError: Too many wait already.
            DeadlineExpiredError: The deadline came first.
        """
        permit = self.try_acquire(byte_count, promised=promised, sender=sender)
        if permit is not None:
            return permit
        self._unseen(1)
        heap = self._waiting[promised]
        group = None if sender is None else sender.group
        if len(heap) >= self._settings.max_waiting_count and not self._make_place(heap, group):
            raise self._too_many()
        waiter = _Waiter(
            self._clamp(byte_count, promised=promised), promised, asyncio.get_running_loop().create_future(), sender
        )
        heapq.heappush(heap, (priority, deadline_s, next(self._sequence), waiter))
        if group is not None:
            self._waiting_by_group[group] += 1
        self._silence.press()
        try:
            async with asyncio.timeout(None if deadline_s == math.inf else max(0.0, deadline_s - self._clock.now())):
                return await waiter.future
        except BaseException as exc:
            self._leave(waiter)
            if isinstance(exc, TimeoutError):
                self._metrics.dropped.labels("memory").inc()
                raise DeadlineExpiredError(
                    "The deadline passed while the call waited for memory to be admitted."
                ) from exc
            raise
        finally:
            if group is not None:
                self._waiting_by_group[group] -= 1
                if not self._waiting_by_group[group]:
                    del self._waiting_by_group[group]

    def _too_many(self) -> OverloadedError:
        self._metrics.dropped.labels("memory").inc()
        return OverloadedError(
            f"{self._settings.max_waiting_count} calls wait for memory already; try again later.", retry_after_s=1.0
        )

    def _make_place(self, heap: list[tuple[int, float, int, _Waiter]], group: str | None) -> bool:
        """Send away the last who waits of a group that leaves others too few places; tell whether there is one."""
        most = int(self._settings.max_waiting_count * (1 - _KEPT_SHARE))
        crowding = {other for other, count in self._waiting_by_group.items() if count > most and other != group}
        theirs = [entry for entry in heap if entry[-1].group in crowding and not entry[-1].future.done()]
        if not theirs:
            return False
        last = max(theirs)
        heap.remove(last)
        heapq.heapify(heap)
        last[-1].future.set_exception(self._too_many())
        return True

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.future.done() and not waiter.future.cancelled():
            if waiter.future.exception() is None:
                waiter.future.result().release()  # granted in the very instant in which its caller left
            return
        waiter.future.cancel()
        self._wake()

    def _clamp(self, byte_count: int, *, promised: bool) -> int:
        return min(byte_count, self._settings.budget_bytes if promised else self._unpromised_limit)

    def _fits(self, byte_count: int, *, promised: bool) -> bool:
        return (
            self._permit_count < self._settings.max_permit_count
            and self._used_bytes + byte_count <= self._settings.budget_bytes
            and (promised or self._unpromised_bytes + byte_count <= self._unpromised_limit)
        )

    def _grant(self, byte_count: int, promised: bool, sender: Sender | None) -> Permit:
        self._permit_count += 1
        self._used_bytes += byte_count
        if not promised:
            self._unpromised_bytes += byte_count
        return Permit(self, byte_count, promised=promised, acquired_s=self._clock.now(), sender=sender)

    def shrink(self, permit: Permit, byte_count: int) -> None:
        if not permit.promised:
            self._unpromised_bytes -= permit.byte_count
            permit.promised = True
        if byte_count < permit.byte_count:
            self._used_bytes -= permit.byte_count - byte_count
            permit.byte_count = byte_count
        self._wake()

    def awaiting(self, permit: Permit, message_bytes: int, give_way: Callable[[], None]) -> Awaiting:
        sender = permit.sender
        if sender is None:
            return self._silence.begin(permit, functools.partial(good_time_s, message_bytes), give_way)
        before = sender.arrived_bytes
        return self._silence.begin(permit, lambda: sending_time_s(before, sender.arrived_bytes), give_way)

    def unread(self, permit: Permit, taken_bytes: Callable[[], int], give_way: Callable[[], None]) -> Awaiting:
        before = taken_bytes()
        return self._silence.begin(permit, lambda: pace_s(taken_bytes() - before), give_way)

    def settle(self, permit: Permit, byte_count: int) -> None:
        missing = min(byte_count, self._settings.budget_bytes) - permit.byte_count
        if missing > 0:
            if self._used_bytes + missing > self._settings.budget_bytes:
                self._unseen(1)
                self._metrics.dropped.labels("memory").inc()
                raise OverloadedError(
                    f"The call needs {byte_count >> 20} MiB of memory, which are not free now; ask for fewer or"
                    " smaller results, or try again.",
                    retry_after_s=1.0,
                )
            self._used_bytes += missing
            if not permit.promised:
                self._unpromised_bytes += missing
            permit.byte_count += missing
        self.shrink(permit, byte_count)

    def release(self, permit: Permit) -> None:
        self._permit_count -= 1
        self._used_bytes -= permit.byte_count
        if not permit.promised:
            self._unpromised_bytes -= permit.byte_count
        if not permit.answered:
            self._work_times.given_up(permit.asked_bytes, self._clock.now() - permit.acquired_s)
        self._wake()

    def learn(self, permit: Permit) -> None:
        self._work_times.answered(permit.asked_bytes, self._clock.now() - permit.acquired_s)

    def _hopeless(self, waiter: _Waiter, deadline_s: float) -> OverloadedError | None:
        """Return what to tell a call that could not be answered in time if it were granted now.

        In order of deadline those with the least time left come first; under overload they would
        take the memory, and the time, that others could still use. An idle gateway tries all.
        """
        work_s = self._work_times.expected_s(waiter.byte_count)
        if self._permit_count == 0 or self._clock.now() + work_s <= deadline_s:
            return None
        self._metrics.dropped.labels("memory").inc()
        return OverloadedError(
            f"Calls of this size take about {work_s:.2g} s now, longer than the deadline leaves; try again later.",
            retry_after_s=work_s,
        )

    def _wake(self) -> None:
        if not self._waiting[True] and not self._waiting[False] and not self._silence.pressing:
            return
        for promised, heap in self._waiting.items():
            while heap:
                _, deadline_s, _, waiter = heap[0]
                if waiter.future.done():
                    heapq.heappop(heap)
                    continue
                if not self._fits(waiter.byte_count, promised=promised):
                    break
                heapq.heappop(heap)
                hopeless = self._hopeless(waiter, deadline_s)
                if hopeless is not None:
                    waiter.future.set_exception(hopeless)
                    continue
                self._unseen(-1)
                waiter.future.set_result(self._grant(waiter.byte_count, promised, waiter.sender))
        self._silence.press()

    def _need(self) -> Need | None:
        """Return of which permits, by whether a size was promised, room would help the first who waits, if any does."""
        if not self._waiting[True] and not self._waiting[False]:
            return None
        kinds: tuple[bool, ...] = (False, True)
        limit = self._settings.budget_bytes
        first = self._first(promised=True)
        if first is None:
            first = self._first(promised=False)
            if first is None:
                return None
            if self._unpromised_bytes + first.byte_count > self._unpromised_limit:
                kinds, limit = (False,), self._unpromised_limit  # only its like are in its way
        return Need(kinds, first.group, int(limit * (1 - _KEPT_SHARE)))

    def _first(self, *, promised: bool) -> _Waiter | None:
        """Return who is next to be granted; of a heap the first has left only for as long as it takes to say so."""
        heap = self._waiting[promised]
        return next((waiter for *_, waiter in heap if not waiter.future.done()), None)
