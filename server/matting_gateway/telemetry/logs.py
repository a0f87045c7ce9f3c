# SPDX-License-Identifier: Apache-2.0
"""Log lines: JSON, or text for people, on one stream, of fields that are listed here and no others.

Nothing of a photo can reach a line: a call's line is made from `CallRecord`, whose fields are
names, codes, buckets and durations; an event's fields are checked against `EVENT_FIELDS`; other
libraries' messages and the texts of exceptions, which may quote what they choke on, are replaced
by their type and place.
"""

import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TextIO

from matting_gateway.clock import Clock
from matting_gateway.telemetry.anonymous import clean_request_id, pixel_bucket, short_peer
from matting_gateway.telemetry.log_lines import CALL_FIELDS, CallRecord, Value, line_of, text_line_of

__all__ = [
    "CALL_FIELDS",
    "EVENT_FIELDS",
    "CallRecord",
    "Event",
    "LogStatistics",
    "Logs",
    "clean_request_id",
    "log_to_stdout",
    "pixel_bucket",
    "short_peer",
]

# A reader of the stream that stands still may cost lines, never memory.
_MAX_WAITING_COUNT = 10_000
_MAX_TEXT_LENGTH = 400
# Why a model or a Triton does not come up is told whole.
_MAX_CAUSE_LENGTH = 8000
_CLOSE_PATIENCE_S = 5.0
# Lines are written in bunches: to wake a thread for each would cost more than the line.
_BUNCH_S = 0.02
_BUNCH_COUNT = 256


class Event(Enum):
    """Everything but calls that is worth a line."""

    STARTED = "started"
    LISTENING = "listening"
    SERVING = "serving"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    HARDENING = "hardening"
    PLAINTEXT = "plaintext"
    BACKEND_UP = "backend_up"
    BACKEND_DOWN = "backend_down"
    CREDENTIALS_REFUSED = "credentials_refused"
    GPU_UNUSED = "gpu_unused"
    TRITON_STARTED = "triton_started"
    TRITON_DIED = "triton_died"
    TRITON_STATE = "triton_state"
    TRITON_SAYS = "triton_says"
    RELOAD = "reload"
    FILES_RELOADED = "files_reloaded"
    FILES_REFUSED = "files_refused"
    TENANT_REFUSED = "tenant_refused"
    PROTOCOL_FAULT = "protocol_fault"
    COLLECTOR_DOWN = "collector_down"
    COLLECTOR_UP = "collector_up"
    LIBRARY = "library"
    UNEXPECTED = "unexpected"
    LINES_LOST = "lines_lost"


EVENT_FIELDS = frozenset(
    {
        *("address", "advice", "backend", "cause", "count", "detail", "error_type", "file", "kind", "level"),
        *("logger", "peer", "model", "reason", "request_id", "seconds", "state", "where"),
    }
)


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """Lines written, and lines lost because the stream's reader stood still."""

    written_count: int
    lost_count: int


class Logs:
    """The gateway's log.

    Owns the lines that wait and the thread that renders and writes them, so that a stream whose
    reader stands still never holds up the event loop. Invariant: no more than 10,000 lines wait;
    what is over that is counted and told of once the stream moves again. Any thread may log; a
    line is written within some 20 ms. With `as_text` lines are for people instead of machines.
    """

    def __init__(self, stream: TextIO, *, clock: Clock, as_text: bool = False) -> None:
        self._line_of = text_line_of if as_text else line_of
        self._clock = clock
        self._stream = stream
        self._waiting: deque[tuple[float, str, Mapping[str, Value] | CallRecord]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._sleeping = False
        self._written_count = 0
        self._lost_count = 0
        self._lost_untold_count = 0
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what waits, for at most five seconds, and stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_PATIENCE_S)

    def call(self, record: CallRecord) -> None:
        """Log one call. Cheap: the line is made by the writing thread."""
        self._put("call", record)

    def event(self, event: Event, **values: Value) -> None:
        """Log an event.

        Raises:
            TypeError: A field is not one of `EVENT_FIELDS`.
        """
        unknown = values.keys() - EVENT_FIELDS
        if unknown:
            raise TypeError(f"No log line has the field {', '.join(sorted(unknown))}.")
        self._put(event.value, {name: _cut(name, value) for name, value in values.items()})

    def unexpected(self, exc: BaseException, request_id: str = "") -> None:
        """Log an exception that nobody foresaw: its type and place, not its text."""
        self.event(
            Event.UNEXPECTED, error_type=type(exc).__name__, where=_where(exc), request_id=request_id, level="error"
        )

    @contextmanager
    def capture_libraries(self, level: int = logging.WARNING) -> Iterator[None]:
        """Turn what other libraries log meanwhile into lines without their message texts."""
        root = logging.getLogger()
        old_handlers, old_level = root.handlers[:], root.level
        root.handlers[:] = [_LibraryHandler(self)]
        root.setLevel(level)
        try:
            yield
        finally:
            root.handlers[:] = old_handlers
            root.setLevel(old_level)

    def statistics(self) -> LogStatistics:
        return LogStatistics(self._written_count, self._lost_count)

    def __repr__(self) -> str:
        return f"<Logs {self._written_count} written, {len(self._waiting)} waiting, {self._lost_count} lost>"

    def _put(self, event: str, values: Mapping[str, Value] | CallRecord) -> None:
        waiting = self._waiting
        if len(waiting) >= _MAX_WAITING_COUNT:
            with self._wake:
                self._lost_count += 1
                self._lost_untold_count += 1
            return
        waiting.append((self._clock.wall(), event, values))
        if self._sleeping:
            with self._wake:
                self._wake.notify()

    def _take(self) -> list[str]:
        """Return the next lines when there are any, or none at the end."""
        with self._wake:
            self._sleeping = True  # said before it looks whether there are any, so that none is overlooked
            self._wake.wait_for(lambda: self._waiting or self._closing)
            self._sleeping = False
            self._wake.wait_for(lambda: self._closing, _BUNCH_S)
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BUNCH_COUNT))]
            lost, self._lost_untold_count = self._lost_untold_count, 0
        if lost:
            taken.append((taken[-1][0], Event.LINES_LOST.value, {"count": lost}))
        return [self._line_of(*entry) for entry in taken]

    def _write_all(self) -> None:
        while lines := self._take():
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except (OSError, ValueError):
                # The reader went away. There is nowhere left to say so but the count.
                self._lost_count += len(lines)
            else:
                self._written_count += len(lines)


class _LibraryHandler(logging.Handler):
    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        self._logs.event(
            Event.LIBRARY,
            logger=record.name,
            level=record.levelname.lower(),
            error_type=type(exc).__name__ if exc is not None else "",
            where=_where(exc) if exc is not None else f"{record.module}:{record.lineno}",
        )


def log_to_stdout(clock: Clock) -> Logs:
    """Return a log on standard output, the only place that the gateway writes to."""
    return Logs(sys.stdout, clock=clock)


def _cut(name: str, value: Value) -> Value:
    if not isinstance(value, str):
        return value
    return value[: _MAX_CAUSE_LENGTH if name == "cause" else _MAX_TEXT_LENGTH]


def _where(exc: BaseException) -> str:
    """Return the innermost place that an exception came through, as file:line."""
    traceback = exc.__traceback__
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
