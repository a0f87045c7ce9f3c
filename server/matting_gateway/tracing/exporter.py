# SPDX-License-Identifier: Apache-2.0
"""The way of ended traces to the collector."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from matting_gateway.clock import Clock
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.traces import Trace

# So many traces are written at once. One alone, by code that no cache has any more, takes three times as long; many
# more, and the garbage collector looks at them all meanwhile. A message is made of so many pieces, as each costs some
# turns of the loop besides: 512 traces of tensors are 0.4 MiB, of the 4 MiB that collectors take unless told otherwise.
_PIECE_COUNT = 32
_BUNCH_PIECES = 16
# A collector that stands still may cost spans, never memory or time of calls: these are 2,048 traces of some 2 KiB.
_MAX_PIECES = 64
_BUNCH_S = 1.0
_SEND_TIMEOUT_S = 5.0
_CLOSE_PATIENCE_S = 3.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class CollectorError(Exception):
    """The collector did not take spans. `passing`: it may take them later. The text names a code, and no peer."""

    def __init__(self, text: str, *, passing: bool) -> None:
        super().__init__(text)
        self.passing = passing


class Collector(Protocol):
    """Who takes spans."""

    address: str

    def written(self, traces: Sequence[Trace]) -> bytes:
        """Return the spans of traces as they are sent."""

    async def send(self, pieces: Sequence[bytes], timeout_s: float) -> int:
        """Send what was written, and return how many spans of it were refused.

        Raises:
            CollectorError: None was taken.
        """

    async def close(self) -> None:
        """End what is being sent, which fails, and the connection."""


class Piece(NamedTuple):
    """Spans as they are sent, and how many traces and spans they are."""

    content: bytes
    trace_count: int
    span_count: int


class Exporter:
    """Takes traces as calls end, and sends their spans a second later at the most, in bunches.

    Owns the traces that wait, written or not yet, and the task that sends them; touched on the event loop only.
    Invariants: no more than 2,048 wait, beside a bunch that is being sent; each span is counted once, as sent or as
    dropped by why; `close` takes three seconds at the most, whatever the collector does. What a collector that is away
    did not take is tried again, after a pause that doubles.

    Args:
        bunch_s: How long traces wait for others to be sent with.
    """

    def __init__(
        self, collector: Collector, *, clock: Clock, metrics: Metrics, logs: Logs, bunch_s: float = _BUNCH_S
    ) -> None:
        self._collector = collector
        self._bunch_s = bunch_s
        self._clock = clock
        self._logs = logs
        self._sent = metrics.trace_spans_sent.labels()
        self._queue_full, self._refused, self._unreachable = (
            metrics.trace_spans_dropped.labels(reason) for reason in ("queue_full", "refused", "unreachable")
        )
        self._ended: list[Trace] = []
        self._written: deque[Piece] = deque()
        # Whether any waits, whether a whole bunch does, and whether it is the end, when both are set too.
        self._some, self._enough, self._closing = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._close_by_s = 0.0
        self._down = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        count = len(self._ended) + sum(piece.trace_count for piece in self._written)
        return f"<Exporter to {self._collector.address}, {count} traces wait>"

    def start(self) -> None:
        self._task = asyncio.create_task(self._send_all())

    def put(self, trace: Trace) -> None:
        """Take a trace that has ended, or count its spans as dropped where too many wait."""
        if len(self._written) == _MAX_PIECES:
            trace.written = True
            self._queue_full.inc(trace.span_count)
            return
        self._ended.append(trace)
        if len(self._ended) == _PIECE_COUNT:
            self._write()
        elif not self._some.is_set():
            self._some.set()

    def _write(self) -> None:
        """Write what has ended and is not written yet."""
        traces, self._ended = self._ended, []
        span_count = 0
        for trace in traces:
            trace.written = True
            span_count += trace.span_count
        try:
            content = self._collector.written(traces)
        except Exception as exc:  # noqa: BLE001 - whatever it is, calls are answered
            self._logs.unexpected(exc)
            self._refused.inc(span_count)
            return
        self._written.append(Piece(content, len(traces), span_count))
        if len(self._written) == _BUNCH_PIECES:
            self._enough.set()

    async def close(self) -> None:
        """Send what waits, for three seconds at the most, and stop."""
        self._close_by_s = self._clock.now() + _CLOSE_PATIENCE_S
        for event in (self._closing, self._some, self._enough):
            event.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=_CLOSE_PATIENCE_S)
        await self._collector.close()
        if self._task is not None:
            await self._task

    async def _send_all(self) -> None:
        while bunch := await self._take():
            await self._deliver(bunch)

    async def _take(self) -> list[Piece]:
        """Return the next bunch when there is one and it is whole or old enough, or none at the end."""
        bunch: list[Piece] = []
        while not bunch and (self._ended or self._written or not self._closing.is_set()):
            await self._some.wait()
            await _within(self._bunch_s, self._enough)
            if self._ended and len(self._written) < _BUNCH_PIECES:
                self._write()
            bunch = [self._written.popleft() for _ in range(min(len(self._written), _BUNCH_PIECES))]
            if not self._closing.is_set():
                if not self._ended and not self._written:
                    self._some.clear()
                if len(self._written) < _BUNCH_PIECES:
                    self._enough.clear()
        return bunch

    async def _deliver(self, bunch: list[Piece]) -> None:
        """Send a bunch, until it is taken, refused or the end has come."""
        span_count, pause_s = sum(piece.span_count for piece in bunch), _FIRST_PAUSE_S
        contents = [piece.content for piece in bunch]
        while (timeout_s := self._time_left_s()) > 0:
            last = self._closing.is_set()
            try:
                refused_count = await self._collector.send(contents, timeout_s)
            except CollectorError as exc:
                self._tell(str(exc))
                if not exc.passing:
                    self._refused.inc(span_count)
                    return
            except Exception as exc:  # noqa: BLE001 - whatever it is, the next traces are sent
                self._logs.unexpected(exc)
                self._refused.inc(span_count)
                return
            else:
                self._tell("")
                self._refused.inc(refused_count)
                self._sent.inc(span_count - refused_count)
                return
            if last:
                break
            await _within(pause_s, self._closing)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._unreachable.inc(span_count)

    def _time_left_s(self) -> float:
        """Return how long sending may take now."""
        if not self._closing.is_set():
            return _SEND_TIMEOUT_S
        return min(_SEND_TIMEOUT_S, self._close_by_s - self._clock.now())

    def _tell(self, problem: str) -> None:
        """Write a line where the collector no longer takes spans, or does again."""
        down = bool(problem)
        if down != self._down:
            self._down = down
            event, level = (Event.COLLECTOR_DOWN, "warning") if down else (Event.COLLECTOR_UP, "info")
            self._logs.event(event, address=self._collector.address, detail=problem, level=level)


async def _within(timeout_s: float, event: asyncio.Event) -> None:
    """Wait for an event, for so long at the most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
