# SPDX-License-Identifier: Apache-2.0
"""Keeps a local Triton running, for a program that lives on an asyncio loop."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from matting_triton.backoff import Backoff
from matting_triton.command import ModelControl
from matting_triton.errors import LocalTritonError, TritonStartError
from matting_triton.local import LocalTriton
from matting_triton.logs import LogLineCallable
from matting_triton.runtime import Runtime
from matting_triton.stubs import StubWatch, children_of


class EventKind(Enum):
    """What can happen to a supervised Triton."""

    STARTED = "started"
    READY = "ready"
    MODEL_FAILED = "model_failed"
    STUB_DIED = "stub_died"
    DIED = "died"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SupervisorEvent:
    """One thing that happened; `detail` says more in words, none of which can hold what somebody sent to Triton."""

    kind: EventKind
    detail: str


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """How it stands: whether Triton is ready, how often it was restarted, which models it could not load."""

    ready: bool
    restart_count: int
    failed_models: Mapping[str, str]


class TritonSupervisor:
    """Starts a Triton, starts it again whenever it or the process of a model dies, and stops it.

    Owns the `LocalTriton`, one task that watches it and the watch over its stubs; all of it is used on one event loop,
    which is never blocked: what waits, waits in threads. The address never changes after `start`.

    Args:
        runtime: From `ensure_runtime`.
        repository: Triton model repository.
        grpc_port: Port of 127.0.0.1; 0 for any free one, the same for all restarts.
        model_control: Who decides which models are loaded.
        environment: Added to Triton's own environment.
        tell: Gets, on a thread, Triton's notable lines, redacted: see `LogLine`.
        on_event: Called on the loop with what happens.
        backoff: How long to wait before a restart.
        ready_timeout_s: A Triton that is not ready by then is killed and started again.
        grace_s: Seconds between SIGTERM and SIGKILL when stopping.
        extra_arguments: More options of `tritonserver`.
    """

    def __init__(
        self,
        runtime: Runtime,
        repository: Path,
        *,
        grpc_port: int = 0,
        model_control: ModelControl = ModelControl.EXPLICIT,
        environment: Mapping[str, str] | None = None,
        tell: LogLineCallable | None = None,
        on_event: Callable[[SupervisorEvent], None] | None = None,
        backoff: Backoff | None = None,
        ready_timeout_s: float = 900.0,
        grace_s: float = 0.0,
        extra_arguments: tuple[str, ...] = (),
    ) -> None:
        self._triton = LocalTriton(
            runtime,
            repository,
            grpc_port=grpc_port,
            model_control=model_control,
            environment=environment,
            log=self._on_line,
            tell=tell,
            on_end=self._on_end,
            grace_s=grace_s,
            extra_arguments=extra_arguments,
        )
        self._on_event = on_event
        self._backoff = backoff or Backoff()
        self._ready_timeout_s = ready_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watcher: asyncio.Task[None] | None = None
        # Held while a thread starts or stops processes: a stop must not meet a restart half-way.
        self._changing = asyncio.Lock()
        self._ended = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._restart_count = 0
        self._stubs: StubWatch | None = None

    @property
    def grpc_address(self) -> str:
        """Where it serves; known from `start` on."""
        return self._triton.grpc_address

    @property
    def pid(self) -> int:
        return self._triton.pid

    def statistics(self) -> SupervisorStatistics:
        return SupervisorStatistics(self._ready.is_set(), self._restart_count, self._triton.failed_models)

    async def start(self) -> None:
        """Start Triton and return as soon as its process is there; `wait_ready` or an event tells when it serves.

        Raises:
            RepositoryMissingError, PortTakenError, TritonStartError: It cannot be started at all.
        """
        self._loop = asyncio.get_running_loop()
        async with self._changing:
            await asyncio.to_thread(self._triton.start)
        self._emit(EventKind.STARTED, f"on {self.grpc_address}")
        self._watcher = asyncio.create_task(self._watch(), name="triton-supervisor")

    async def wait_ready(self) -> None:
        """Wait until it serves, however many restarts that takes.

        Raises:
            TritonStartError: It was stopped meanwhile.
        """
        waits = [asyncio.create_task(event.wait()) for event in (self._ready, self._stopping)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self._stopping.is_set():
            raise TritonStartError("This Triton was stopped.")

    async def stop(self) -> None:
        """Stop it for good. Returns when no process, port or segment of it is left."""
        self._stopping.set()
        async with self._changing:
            await asyncio.to_thread(self._triton.stop)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            await watcher
            self._ready.clear()
            self._emit(EventKind.STOPPED, "in order")

    def __repr__(self) -> str:
        return f"TritonSupervisor({self._triton!r}, {self.statistics()!r})"

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stopping.is_set():
            problem = await self._until_ready()
            ready_at = loop.time()
            if not problem:
                await self._until_ended()
            self._unwatch_stubs()
            self._ready.clear()
            if self._stopping.is_set():
                return
            lived_well = not problem and loop.time() - ready_at >= self._backoff.reset_s
            deaths = 1 if lived_well else deaths + 1
            said = f"its last words: {self._triton.last_words}"
            self._emit(EventKind.DIED, f"{problem} {said}" if problem else said)
            await self._restart_after(self._backoff.delay_s(deaths))

    async def _until_ready(self) -> str:
        """Wait until it serves; return what went wrong if it never will."""
        try:
            await asyncio.to_thread(self._triton.wait_ready, self._ready_timeout_s)
        except LocalTritonError as exc:
            return exc.what if isinstance(exc, TritonStartError) else str(exc)
        for name, reason in self._triton.failed_models.items():
            self._emit(EventKind.MODEL_FAILED, f"{name}: {reason}")
        with contextlib.suppress(TritonStartError):  # stopped in this moment
            self._stubs = StubWatch(self._triton.pid, self._on_dead_stub)
            self._stubs.add(children_of(self._triton.pid))
        self._ready.set()
        self._emit(EventKind.READY, f"on {self.grpc_address}")
        return ""

    async def _until_ended(self) -> None:
        """Wait for the end; a late word about an earlier process is no end of this one."""
        while self._triton.is_running:
            self._ended.clear()
            if self._triton.is_running:
                await self._ended.wait()

    async def _restart_after(self, delay_s: float) -> None:
        self._emit(EventKind.RESTARTING, f"in {delay_s:.1f} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay_s)
        async with self._changing:
            if self._stopping.is_set():
                return
            self._restart_count += 1
            # A start that failed is handled by the watcher like a process that died.
            with contextlib.suppress(TritonStartError):
                await asyncio.to_thread(self._triton.restart)

    def _emit(self, kind: EventKind, detail: str) -> None:
        if self._on_event is not None:
            self._on_event(SupervisorEvent(kind, detail))

    def _unwatch_stubs(self) -> None:
        if self._stubs is not None:
            self._stubs.close()
            self._stubs = None

    def _watch_more_stubs(self, pids: list[int]) -> None:
        if self._stubs is not None:
            self._stubs.add(pids)

    def _on_dead_stub(self, pid: int) -> None:
        self._emit(EventKind.STUB_DIED, f"process {pid}; Triton does not replace it and is started anew")
        self._triton.kill()

    def _on_line(self, line: str) -> None:
        """Take a line of the log, on the thread that reads it."""
        if self._loop is not None and "successfully loaded" in line:
            with contextlib.suppress(RuntimeError, TritonStartError):  # the loop is closed, Triton is stopped
                self._loop.call_soon_threadsafe(self._watch_more_stubs, children_of(self._triton.pid))

    def _on_end(self) -> None:
        if self._loop is not None:
            # The loop may be closed by the time the last thread ends.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)
