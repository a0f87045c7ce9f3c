# SPDX-License-Identifier: Apache-2.0
"""Permits by count and by bytes: memory is bounded before a body is read."""

import asyncio
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from matting_gateway.admission.line import KEPT_SHARE, SMALL_BYTES, Line, Waiter
from matting_gateway.admission.permit import Awaiting, Permit
from matting_gateway.admission.sender import Sender
from matting_gateway.admission.settings import GateSettings
from matting_gateway.admission.slow_sender_eviction import Need, SlowSenderEviction, good_time_s, pace_s, sending_time_s
from matting_gateway.admission.work_times import WorkTimes
from matting_gateway.clock import Clock
from matting_gateway.domain.job import Priority
from matting_gateway.errors import DeadlineExpiredError, OverloadedError
from matting_gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """What is held and who waits."""

    permit_count: int
    used_bytes: int
    unpromised_bytes: int
    waiting_count: int


class Gate:
    """Grants permits, in order of priority and deadline among those who wait.

    Owns the sums of what is held and the lines of those who wait; touched on the event loop only.
    Invariants: the sums equal those over permits not released; nobody waits who could be
    granted. Waiting always ends: who promised a size holds all that it needs, and who did not,
    and waits for the rest of it while holding a body, asks for no more than what all bodies
    together leave of the budget.
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
        self._unseen = unseen  # 1: a caller waits or is refused; -1: it is let in after all
        self._clock = clock
        self._metrics = metrics
        self._permit_count = 0
        self._used_bytes = 0
        self._unpromised_bytes = 0
        self._unpromised_limit = int(settings.budget_bytes * settings.unpromised_share)
        self._large_limit = int(self._unpromised_limit * (1 - KEPT_SHARE))
        # Two lines, so that callers who promise nothing cannot stand before those who do; and of these the small
        # before the large, as many large ones that are silent hold up for long.
        self._waiting = {
            promised: Line(settings.max_waiting_count, small_first=not promised) for promised in (True, False)
        }
        self._slow_senders = SlowSenderEviction(clock=clock, need=self._need)
        self._work_times = WorkTimes()
        metrics.resident_images.set_function(lambda: self._permit_count)
        metrics.resident_bytes.set_function(lambda: self._used_bytes)

    def statistics(self) -> GateStatistics:
        waiting = sum(1 for line in self._waiting.values() for _ in line)
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
            byte_count: The most that the call may need; of a call that promises nothing, the most that its
                message may: the rest is asked for by `Permit.settle`.
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
        byte_count = self._clamp(byte_count, promised=promised)
        waiter = Waiter(byte_count, deadline_s, byte_count if promised else 0, sender)
        return await self._wait(waiter, self._waiting[promised], priority)

    async def _wait(self, waiter: Waiter, line: Line, priority: Priority) -> Permit:
        self._unseen(1)
        if not line.join(waiter, priority):
            self._metrics.dropped.labels("memory").inc()
            raise line.too_many()
        self._slow_senders.press()
        # After that it could not be answered in time: it is refused then, while it can still ask another gateway.
        work_s = self._work_times.expected_s(waiter.judged_bytes)
        latest_s = waiter.deadline_s - work_s
        seconds = None if latest_s == math.inf else max(0.0, latest_s - self._clock.now())
        try:
            async with asyncio.timeout(seconds):
                return await waiter.future
        except BaseException as exc:
            self._leave(waiter)
            if isinstance(exc, TimeoutError):
                self._metrics.dropped.labels("memory").inc()
                if work_s:
                    raise _takes_too_long(work_s) from exc
                raise DeadlineExpiredError(
                    "The deadline passed while the call waited for memory to be admitted."
                ) from exc
            raise
        finally:
            line.leave(waiter)

    def _leave(self, waiter: Waiter) -> None:
        if waiter.future.done() and not waiter.future.cancelled():
            if waiter.future.exception() is None and waiter.permit is None:
                waiter.future.result().release()  # granted in the very instant in which its caller left
            return
        waiter.future.cancel()
        self._wake()

    def _clamp(self, byte_count: int, *, promised: bool) -> int:
        return min(byte_count, self._settings.budget_bytes if promised else self._limit_of(byte_count))

    def _limit_of(self, byte_count: int) -> int:
        """Return what those who promise nothing may hold together, one of this size among them.

        What is large, as all are whose message has not begun, leaves a part to what is small.
        """
        return self._unpromised_limit if byte_count <= SMALL_BYTES else self._large_limit

    def _fits(self, byte_count: int, *, promised: bool) -> bool:
        return (
            self._permit_count < self._settings.max_permit_count
            and self._can_grow(byte_count)
            and (promised or self._unpromised_bytes + byte_count <= self._limit_of(byte_count))
        )

    def _can_grow(self, byte_count: int) -> bool:
        return self._used_bytes + byte_count <= self._settings.budget_bytes

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
            return self._slow_senders.begin(permit, functools.partial(good_time_s, message_bytes), give_way)
        before = sender.arrived_bytes
        return self._slow_senders.begin(permit, lambda: sending_time_s(before, sender.arrived_bytes), give_way)

    def unread(self, permit: Permit, taken_bytes: Callable[[], int], give_way: Callable[[], None]) -> Awaiting:
        before = taken_bytes()
        return self._slow_senders.begin(permit, lambda: pace_s(taken_bytes() - before), give_way)

    async def settle(self, permit: Permit, byte_count: int, deadline_s: float, priority: Priority) -> None:
        if not permit.promised:
            # What is certain to become free, whatever else is being received.
            sure_bytes = min(byte_count, self._settings.budget_bytes - self._unpromised_limit)
            missing = max(0, sure_bytes - permit.byte_count)
            line = self._waiting[True]
            if line or not self._can_grow(missing):
                await self._wait(Waiter(missing, deadline_s, byte_count, permit.sender, permit), line, priority)
            else:
                self._grow(permit, missing, byte_count)
        missing = min(byte_count, self._settings.budget_bytes) - permit.byte_count
        if missing > 0:
            if not self._can_grow(missing):
                self._unseen(1)
                self._metrics.dropped.labels("memory").inc()
                raise OverloadedError(
                    f"The call needs {byte_count >> 20} MiB of memory, which are not free now; ask for fewer or"
                    " smaller results, or try again.",
                    retry_after_s=1.0,
                )
            self._used_bytes += missing
            permit.byte_count += missing
        self.shrink(permit, byte_count)

    def _grow(self, permit: Permit, missing: int, asked_bytes: int) -> None:
        """Give a call the rest of what it needs: from now on it is in work, and its size known."""
        self._unpromised_bytes -= permit.byte_count
        self._used_bytes += missing
        permit.promised = True
        permit.byte_count += missing
        permit.asked_bytes, permit.acquired_s = asked_bytes, self._clock.now()

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

    def _hopeless(self, waiter: Waiter) -> OverloadedError | None:
        """Return what to tell a call that could not be answered in time if it were granted now.

        In order of deadline those with the least time left come first; under overload they would
        take the memory, and the time, that others could still use. An idle gateway tries all.
        """
        work_s = self._work_times.expected_s(waiter.judged_bytes)
        others = self._permit_count - (waiter.permit is not None)
        if others == 0 or self._clock.now() + work_s <= waiter.deadline_s:
            return None
        return _takes_too_long(work_s)

    def _wake(self) -> None:
        if not self._waiting[True] and not self._waiting[False] and not self._slow_senders.pressing:
            return
        for promised, line in self._waiting.items():
            while (waiter := line.first()) is not None:
                if waiter.permit is None:
                    fits = self._fits(waiter.byte_count, promised=promised)
                else:
                    fits = self._can_grow(waiter.byte_count)
                if not fits:
                    break
                hopeless = self._hopeless(waiter)
                if hopeless is not None:
                    self._metrics.dropped.labels("memory").inc()
                    waiter.future.set_exception(hopeless)
                    continue
                self._unseen(-1)
                permit = waiter.permit
                if permit is None:
                    permit = self._grant(waiter.byte_count, promised, waiter.sender)
                else:
                    self._grow(permit, waiter.byte_count, waiter.judged_bytes)
                waiter.future.set_result(permit)
        self._slow_senders.press()

    def _need(self) -> Need | None:
        """Return which kinds of permits the first waiter needs released; None where nobody waits."""
        if not self._waiting[True] and not self._waiting[False]:
            return None
        kinds: tuple[bool, ...] = (False, True)
        limit = self._settings.budget_bytes
        first = self._waiting[True].first()
        if first is None:
            first = self._waiting[False].first()
            if first is None:
                return None
            if self._unpromised_bytes + first.byte_count > self._limit_of(first.byte_count):
                kinds, limit = (False,), self._unpromised_limit  # only permits without a promised size are in its way
        return Need(kinds, first.group, int(limit * (1 - KEPT_SHARE)))


def _takes_too_long(work_s: float) -> OverloadedError:
    return OverloadedError(
        f"Calls of this size take about {work_s:.2g} s now, longer than the deadline leaves; try again later.",
        retry_after_s=work_s,
    )
