# SPDX-License-Identifier: Apache-2.0
"""A batch with traced jobs in it. Pure: no clock, no asyncio."""

from collections.abc import Iterable, Sequence
from typing import Self

from matting_gateway.domain.job import Job
from matting_gateway.traces import SentBatch, Trace, new_span_id


class TracedBatch:
    """What the traces of one batch's jobs are told.

    A backend can be told of one span above its own: that of the first traced job, and those of the others link to it.
    Owns that span's id. Invariant: each traced job is told of the batch once, when it is over.
    """

    def __init__(self, traces: Sequence[tuple[int, Trace]], backend: str, batch_size: int) -> None:
        self._traces = traces
        self._span_id = new_span_id()
        self._sent = SentBatch(backend, batch_size, "", traces[0][1].trace_id, self._span_id)

    @classmethod
    def of(cls, jobs: Iterable[Job], backend: str, batch_size: int) -> Self | None:
        """Return it for jobs of which some are traced, else None."""
        traces = [(index, job.trace) for index, job in enumerate(jobs) if job.trace is not None]
        return cls(traces, backend, batch_size) if traces else None

    @property
    def traceparent(self) -> str:
        return self._sent.traceparent

    def ended(self, arrived_s: Sequence[float], sent_s: float, ended_s: float, error_type: str) -> None:
        """Tell how long the batch took, and what it failed with if it did; and when each job arrived."""
        sent = self._sent._replace(error_type=error_type) if error_type else self._sent
        span_id = self._span_id
        for index, trace in self._traces:
            trace.inference(arrived_s[index], sent_s, ended_s, span_id, sent)
            span_id = ""

    def __repr__(self) -> str:
        return f"<TracedBatch of {len(self._traces)} traced jobs to {self._sent.backend}>"
