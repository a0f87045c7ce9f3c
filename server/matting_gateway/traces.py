# SPDX-License-Identifier: Apache-2.0
"""The trace of one call as it is recorded: ids, and spans with their times. Pure; what is sent is made of it later."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

from matting_gateway.errors import GatewayError

# W3C Trace Context: version, trace id, id of the span above, flags; nothing may be all zeros, and ff is no version.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_SAMPLED = 1
# Of two ids beside each other, of 128 and of 64 bits.
_NEITHER_IS_ZERO = 1 << 64 | 1
INFERENCE = "inference"


class CallerContext(NamedTuple):
    """What a caller says of the trace that its call is part of. Ids are lower-case hexadecimal digits, 32 and 16."""

    trace_id: str
    span_id: str
    sampled: bool


def caller_context(header: str | bytes | None) -> CallerContext | None:
    """Return what a caller's `traceparent` says; None where it has none, or one that is not to the letter."""
    match = _TRACEPARENT.fullmatch(header) if isinstance(header, str) else None
    if match is None:
        return None
    return CallerContext(match[1], match[2], bool(int(match[3], 16) & _SAMPLED))


def new_span_id() -> str:
    """Return a span's id."""
    return f"{random.getrandbits(64) or 1:016x}"


class SentBatch(NamedTuple):
    """A batch that was sent, as each of its traced jobs tells of it.

    `traceparent` is what the Triton was told, with the ids `trace_id` and `span_id`: those of the first traced job's
    own span. The others' spans link to that one. `error_type` is "" where it was answered.
    """

    backend: str
    batch_size: int
    error_type: str
    trace_id: str
    span_id: str

    @property
    def traceparent(self) -> str:
        return traceparent(self.trace_id, self.span_id)


Stage: TypeAlias = tuple[str, float, float, str, SentBatch | None]


class Trace:
    """One sampled call, or one item of a sampled stream: a span, and the stages that are its children.

    Owned by whoever serves it, on the event loop. Noting is all that is done while it is served: each step more would
    be one of the call's. `end` has it handed over to whoever writes it, and sets `written` then; what is noted after
    that, as of a batch whose caller did not wait for it, is handed over by itself, and it is `late`. `noted` are the
    stages as plain tuples: name, since and until in seconds of the clock, the id of the span ("" where nobody was told
    of it: one is made later), and the batch that it is, if any. `record` is what the call's log line says, None of an
    item of a stream; `error_type` is what it failed with, or "".
    """

    __slots__ = (
        *("_on_end", "_own_trace_id", "error_type", "late", "noted", "parent_span_id", "record", "since_s", "span_id"),
        *("trace_id", "until_s", "written"),
    )

    def __init__(
        self,
        on_end: Callable[["Trace"], None],
        parent: CallerContext | None = None,
        *,
        item_of: "Trace | None" = None,
    ) -> None:
        self._on_end = on_end
        self.written = self.late = False
        self.noted: list[Stage] = []
        self.trace_id: str
        self.parent_span_id: str
        if parent is None and item_of is None:
            ids = f"{random.getrandbits(192) | _NEITHER_IS_ZERO:048x}"
            self.trace_id, self.span_id, self.parent_span_id = ids[:32], ids[32:], ""
            self._own_trace_id = True
            return
        self.span_id = new_span_id()
        if item_of is not None:
            self.trace_id, self.parent_span_id = item_of.trace_id, item_of.span_id
            self._own_trace_id = item_of._own_trace_id
        elif parent is not None:
            self.trace_id, self.parent_span_id = parent.trace_id, parent.span_id
            self._own_trace_id = False

    def __repr__(self) -> str:
        return f"<Trace {self.trace_id} of {len(self.noted)} stages>"

    @property
    def traceparent(self) -> str:
        return traceparent(self.trace_id, self.span_id)

    @property
    def span_count(self) -> int:
        return len(self.noted) + (not self.late)

    @property
    def exemplar(self) -> dict[str, str]:
        """What a histogram may show of it: ids that were made here, and never one that a caller made up."""
        own = {"span_id": self.span_id}
        return {**own, "trace_id": self.trace_id} if self._own_trace_id else own

    def item(self) -> "Trace":
        """Return the trace of an item of this stream, which ends by itself."""
        return Trace(self._on_end, item_of=self)

    def stage(self, name: str, since_s: float, until_s: float) -> None:
        """Note a stage that is over."""
        if self.written:
            self._hand_over_late((name, since_s, until_s, "", None))
        else:
            self.noted.append((name, since_s, until_s, "", None))

    def queued(self, since_s: float, until_s: float) -> None:
        """Note waiting for a batch that did not come."""
        self.stage("queue", self._waits_since_s(since_s), until_s)

    def inference(self, arrived_s: float, sent_s: float, until_s: float, span_id: str, batch: SentBatch) -> None:
        """Note a batch that was sent and is answered, or failed, and waiting for it since the job arrived."""
        waited: Stage = ("queue", self._waits_since_s(arrived_s), sent_s, "", None)
        if self.written:
            self._hand_over_late(waited, (INFERENCE, sent_s, until_s, span_id, batch))
        else:
            self.noted += (waited, (INFERENCE, sent_s, until_s, span_id, batch))

    def passed_on(self, since_s: float, until_s: float, span_id: str, batch: SentBatch) -> None:
        """Note a request that a backend answered as it came."""
        if self.written:
            self._hand_over_late((INFERENCE, since_s, until_s, span_id, batch))
        else:
            self.noted.append((INFERENCE, since_s, until_s, span_id, batch))

    def _hand_over_late(self, *stages: Stage) -> None:
        self.written, self.late = False, True
        # With ids of their own: those that follow the call's are those of what was handed over with it.
        self.noted = [(*stage[:3], stage[3] or new_span_id(), stage[4]) for stage in stages]
        self._on_end(self)

    def _waits_since_s(self, arrived_s: float) -> float:
        """Return since when a job waits: after a batch that failed, from the end of that."""
        last = self.noted[-1] if self.noted else None
        return last[2] if last is not None and last[0] == INFERENCE else arrived_s

    def end(self, since_s: float, until_s: float, *, error_type: str = "", record: object = None) -> None:
        """Hand it over, once."""
        self.since_s, self.until_s, self.error_type, self.record = since_s, until_s, error_type, record
        self._on_end(self)


def traceparent(trace_id: str, span_id: str) -> str:
    """Return the header that has a sampled span's children made elsewhere."""
    return f"00-{trace_id}-{span_id}-01"


def error_type_of(exc: BaseException) -> str:
    """Return what a span says of a failure: a code or a type, never a text."""
    return exc.code.name if isinstance(exc, GatewayError) else type(exc).__name__


@contextmanager
def passed_on(trace: Trace | None, now: Callable[[], float]) -> Iterator[str]:
    """Note a request that a backend answers as it came, within the block; yields the backend's `traceparent`."""
    if trace is None:
        yield ""
        return
    span_id, since_s, error_type = new_span_id(), now(), ""
    try:
        yield traceparent(trace.trace_id, span_id)
    except BaseException as exc:
        error_type = error_type_of(exc)
        raise
    finally:
        trace.passed_on(since_s, now(), span_id, SentBatch("", 1, error_type, trace.trace_id, span_id))
