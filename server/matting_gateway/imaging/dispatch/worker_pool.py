# SPDX-License-Identifier: Apache-2.0
"""The imaging workers: what is to be done waits for one in order of deadlines, and who ends is replaced."""

import asyncio
import contextlib
import heapq
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from matting_gateway.clock import Clock
from matting_gateway.domain.job import Priority
from matting_gateway.errors import DeadlineExpiredError, GatewayError, InternalError, without_frames
from matting_gateway.imaging.answers import Answer
from matting_gateway.imaging.dispatch.call_file import CallFile
from matting_gateway.imaging.dispatch.worker_handle import WorkerHandle
from matting_gateway.imaging.photo_job import ABANDONED_OFFSET, Request

_T = TypeVar("_T")
_START_TIMEOUT_S = 60.0


class WorkerFailedError(Exception):
    """A worker ended, answered nonsense, or was killed; it had the photo then.

    `too_slow`: by us, because it took too long. `from_outside`: by somebody else, as the kernel where memory is short.
    """

    def __init__(self, message: str, *, too_slow: bool = False, from_outside: bool = False) -> None:
        super().__init__(message)
        self.too_slow = too_slow
        self.from_outside = from_outside


@dataclass(slots=True, eq=False)
class _Task:
    """One step of one call, while it waits for a worker or is done by one."""

    request: Request
    file: CallFile
    read: Callable[[Answer], Any]
    timeout_s: float
    latest_start_s: float
    note: Callable[[float], None]
    done: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None = None
    started_s: float = 0.0
    # What it ends with once its worker, which was killed, has ended.
    failure: WorkerFailedError | None = None

    def settle(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


@dataclass(slots=True, eq=False)
class _State:
    """What is known of one process."""

    ready: asyncio.Future[bool]
    start_timer: asyncio.TimerHandle
    task: _Task | None = None


class WorkerPool:
    """A fixed number of processes, each of which does one step of one call at a time.

    Owns the processes, and the steps that wait for one: in order of step, priority and deadline. For one event loop.
    Invariants: a step is done by one worker, once; a process that is idle has answered all that it was asked; a call
    is let go only when no process that was handed its file has it any more.
    """

    def __init__(self, count: int, *, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._states: dict[WorkerHandle, _State] = {}
        self._idle: list[WorkerHandle] = []
        self._waiting: list[tuple[int, int, float, int, _Task]] = []
        self._numbers = itertools.count()
        self._closing = self._ending = False
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self.killed_total = 0
        self.filtered = False

    @property
    def waiting_count(self) -> int:
        """Steps that wait for a worker."""
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Workers {len(self._states)} of {self._count}, {len(self._idle)} idle, {len(self._waiting)} wait>"

    async def start(self) -> None:
        """Start all processes and wait until they are ready.

        Raises:
            InternalError: One did not start.
        """
        try:
            for _ in range(self._count):
                self._spawn()
        except OSError as error:
            raise _not_started() from error
        if not all(await asyncio.gather(*(state.ready for state in self._states.values()))):
            raise _not_started()

    async def run(
        self,
        request: Request,
        file: CallFile,
        read: Callable[[Answer], _T],
        *,
        timeout_s: float,
        deadline_s: float,
        latest_start_s: float,
        priority: Priority,
        note: Callable[[float], None] = lambda _: None,
    ) -> _T:
        """Have one step done, and return what is read in the worker's answer.

        A cancelled caller is let go at once while the step waits, else when the worker has let go of the file.

        Args:
            request: What to do.
            file: The call's file.
            read: Makes sense of the answer. Raises ValueError where there is none, and GatewayErrors.
            timeout_s: A worker that takes longer is killed.
            deadline_s: Who has the nearest goes first.
            latest_start_s: From then on it makes no sense to begin.
            priority: The smaller goes first.
            note: Told how long a worker was busy with a step that it did.

        Raises:
            GatewayError: What `read` raises.
            WorkerFailedError: The worker did not come to an end with it.
            DeadlineExpiredError: It waited until `latest_start_s`.
            InternalError: There is no worker, and none can be started.
        """
        if self._closing:
            raise InternalError("The imaging workers are closed.")
        loop = asyncio.get_running_loop()
        task = _Task(request, file, read, timeout_s, latest_start_s, note, loop.create_future())
        heapq.heappush(self._waiting, (request.step, priority, deadline_s, next(self._numbers), task))
        self._refill()
        try:
            result: _T = await self._outlast(task)
            return result
        finally:
            del task  # else an error and its frames keep one another, and the photo

    async def close(self) -> None:
        """Take nothing new, do what waits, and end all processes."""
        self._closing = True
        tasks = [state.task for state in self._states.values() if state.task] + [entry[-1] for entry in self._waiting]
        if tasks:
            await asyncio.wait([task.done for task in tasks])
        self._ending = True
        for handle in self._states:
            handle.kill()
        await self._all_ended.wait()

    async def _outlast(self, task: _Task) -> Any:
        cancelled = False
        try:
            while not task.done.done():
                try:
                    # Cancelling does not reach the future, which the worker's end needs.
                    await asyncio.wait([task.done])
                except asyncio.CancelledError:
                    if self._withdraw(task):
                        raise
                    cancelled = True
                    with contextlib.suppress(InternalError):  # then it does all of its work
                        task.file.write(ABANDONED_OFFSET, b"\1")
            if cancelled:
                task.done.exception()
                raise asyncio.CancelledError
            return task.done.result()
        finally:
            del task

    def _withdraw(self, task: _Task) -> bool:
        """Take a step out of those that wait; returns whether it was there."""
        kept = [entry for entry in self._waiting if entry[-1] is not task]
        if len(kept) == len(self._waiting):
            return False
        heapq.heapify(kept)
        self._waiting = kept
        task.done.cancel()
        return True

    # --- to the workers -------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._waiting and self._idle:
            entry = heapq.heappop(self._waiting)
            task = entry[-1]
            if self._clock.now() >= task.latest_start_s:
                task.done.set_exception(
                    DeadlineExpiredError("The deadline came too near while the photo waited for an imaging worker.")
                )
                continue
            handle = self._idle.pop()
            try:
                handle.send(task.request.packed(), task.file.descriptor)
            except (BrokenPipeError, ConnectionResetError):
                # It ended while idle, which costs no photo.
                heapq.heappush(self._waiting, entry)
                continue
            except OSError as error:
                self._idle.append(handle)
                failure = InternalError("There is no memory, or no descriptor, to hand a photo to a worker.")
                failure.__cause__ = error
                task.done.set_exception(failure)
                continue
            self._states[handle].task = task
            task.started_s = self._clock.now()
            task.timer = asyncio.get_running_loop().call_later(task.timeout_s, self._late, handle, task)

    @staticmethod
    def _late(handle: WorkerHandle, task: _Task) -> None:
        """Kill a worker; its caller is let go when it has ended, as it has the photo until then."""
        task.failure = WorkerFailedError("the worker took too long", too_slow=True)
        handle.kill()

    # --- from the workers -----------------------------------------------------------------

    def _told(self, handle: WorkerHandle, message: bytes | None) -> None:
        state = self._states[handle]
        if message is None:
            self._ended(handle, state)
            return
        task = state.task
        if task is not None and task.failure is not None:
            return  # too late: it is being killed
        try:
            answer = _answer_in(message, unasked=task is None and state.ready.done())
            result = answer if task is None else _outcome(task, answer)
        except (ValueError, RecursionError):
            if task is not None:
                task.failure = WorkerFailedError("the worker answered nonsense")
            self._forget_idle(handle)
            handle.kill()
            return
        self._idle.append(handle)
        if task is None:
            self.filtered = answer.get("filtered") is True
            state.start_timer.cancel()
            state.ready.set_result(True)
        else:
            state.task = None
            task.settle()
            if isinstance(result, GatewayError):
                task.done.set_exception(result)
            else:
                task.note(self._clock.now() - task.started_s)
                task.done.set_result(result)
        self._dispatch()

    def _ended(self, handle: WorkerHandle, state: _State) -> None:
        del self._states[handle]
        self._forget_idle(handle)
        if state.task is not None:
            state.task.settle()
            ended = WorkerFailedError("the worker ended", from_outside=handle.was_killed)
            state.task.done.set_exception(state.task.failure or ended)
        if state.ready.done():
            self.killed_total += 1
            if not self._ending:
                self._refill()
        else:
            # One that does not even start is not tried again before somebody asks.
            state.start_timer.cancel()
            state.ready.set_result(False)
        self._after_end()

    def _forget_idle(self, handle: WorkerHandle) -> None:
        if handle in self._idle:
            self._idle.remove(handle)

    def _refill(self) -> None:
        """Start what is missing; where nothing more can be started, what runs has to do."""
        with contextlib.suppress(OSError):
            while len(self._states) < self._count:
                self._spawn()
        self._dispatch()
        self._after_end()

    def _after_end(self) -> None:
        if self._states:
            return
        self._all_ended.set()
        while self._waiting:
            heapq.heappop(self._waiting)[-1].done.set_exception(_not_started())

    def _spawn(self) -> None:
        handle = WorkerHandle(self._told)
        loop = asyncio.get_running_loop()
        self._all_ended.clear()
        self._states[handle] = _State(loop.create_future(), loop.call_later(_START_TIMEOUT_S, handle.kill))


def _answer_in(message: bytes, *, unasked: bool) -> Answer:
    answer = json.loads(message)
    if unasked or not isinstance(answer, dict):
        raise ValueError("a worker answers in objects, and when it is asked")
    return answer


def _outcome(task: _Task, answer: Answer) -> Any:
    try:
        return task.read(answer)
    except GatewayError as error:
        return without_frames(error)  # which hold the task, and so the photo


def _not_started() -> InternalError:
    return InternalError("No imaging worker could be started.")
