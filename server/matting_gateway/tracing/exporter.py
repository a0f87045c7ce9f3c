# SPDX-License-Identifier: Apache-2.0
"""The way of ended traces to the collector, on a thread of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from matting_gateway.clock import Clock
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.traces import Trace

# Some 2 KiB each. A collector that stands still may cost spans, never memory or time of calls.
_MAX_WAITING_COUNT = 2048
_BUNCH_COUNT = 128
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
    """Who takes spans. Called on the exporter's thread, but for `close`."""

    address: str

    def send(self, traces: Sequence[Trace], timeout_s: float) -> int:
        """Send the spans of traces, and return how many of them were refused.

        Raises:
            CollectorError: None was taken.
        """

    def close(self) -> None:
        """End what is being sent, and the connection. On any thread."""


class Exporter:
    """Takes traces from the event loop, and sends their spans a second later at the most, in bunches.

    Owns the traces that wait and the thread. Invariants: no more than 2,048 wait, beside a bunch that is being sent;
    each span is counted once, as sent or as dropped by why; `close` takes five seconds at the most, whatever the
    collector does. What a collector that is away did not take is tried again, after a pause that doubles.
    """

    def __init__(self, collector: Collector, *, clock: Clock, metrics: Metrics, logs: Logs) -> None:
        self._collector = collector
        self._clock = clock
        self._logs = logs
        self._sent = metrics.trace_spans_sent.labels()
        self._queue_full, self._refused, self._unreachable = (
            metrics.trace_spans_dropped.labels(reason) for reason in ("queue_full", "refused", "unreachable")
        )
        self._waiting: deque[Trace] = deque()
        self._wake = threading.Condition()
        self._sleeping = False
        self._close_by_s: float | None = None
        self._down = False
        self._thread = threading.Thread(target=self._send_all, name="traces", daemon=True)

    def __repr__(self) -> str:
        return f"<Exporter to {self._collector.address}, {len(self._waiting)} traces wait>"

    # --- on the event loop ------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def put(self, trace: Trace) -> None:
        """Take a trace that has ended, or count its spans as dropped where too many wait."""
        if len(self._waiting) >= _MAX_WAITING_COUNT:
            self._queue_full.inc(trace.span_count)
            return
        self._waiting.append(trace)
        if self._sleeping or len(self._waiting) == _BUNCH_COUNT:
            with self._wake:
                self._wake.notify()

    async def close(self) -> None:
        """Send what waits, for three seconds at the most, and stop."""
        with self._wake:
            self._close_by_s = self._clock.now() + _CLOSE_PATIENCE_S
            self._wake.notify()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        if self._thread.is_alive():
            self._thread.join(_CLOSE_PATIENCE_S)
        self._collector.close()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_PATIENCE_S)

    # --- on the thread ----------------------------------------------------------------------

    def _send_all(self) -> None:
        while bunch := self._take():
            self._deliver(bunch)

    def _take(self) -> list[Trace]:
        """Return the next traces when there are any, or none at the end."""
        with self._wake:
            self._sleeping = True  # said before it looks whether there are any, so that none is overlooked
            self._wake.wait_for(lambda: self._waiting or self._closing)
            self._sleeping = False
            self._wake.wait_for(lambda: self._closing or len(self._waiting) >= _BUNCH_COUNT, _BUNCH_S)
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), _BUNCH_COUNT))]

    def _deliver(self, bunch: list[Trace]) -> None:
        """Send a bunch, until it is taken, refused or the end has come."""
        span_count, pause_s = sum(trace.span_count for trace in bunch), _FIRST_PAUSE_S
        while (timeout_s := self._time_left_s()) > 0:
            last = self._closing
            try:
                refused_count = self._collector.send(bunch, timeout_s)
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
            with self._wake:
                self._wake.wait_for(lambda: self._closing, pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._unreachable.inc(span_count)

    @property
    def _closing(self) -> bool:
        return self._close_by_s is not None

    def _time_left_s(self) -> float:
        """Return how long sending may take now."""
        if self._close_by_s is None:
            return _SEND_TIMEOUT_S
        return min(_SEND_TIMEOUT_S, self._close_by_s - self._clock.now())

    def _tell(self, problem: str) -> None:
        """Write a line where the collector no longer takes spans, or does again."""
        down = bool(problem)
        if down != self._down:
            self._down = down
            event, level = (Event.COLLECTOR_DOWN, "warning") if down else (Event.COLLECTOR_UP, "info")
            self._logs.event(event, address=self._collector.address, detail=problem, level=level)
