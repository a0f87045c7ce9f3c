# SPDX-License-Identifier: Apache-2.0
"""A batch with traced jobs in it. Pure: no clock, no asyncio."""

from collections.abc import Iterable, Sequence
from typing import Self

from matting_gateway.domain import Job
from matting_gateway.traces import SentBatch, Trace, new_span_id


class TracedBatch:
    """What the traces of one batch's jobs are told.

    A backend can be told of one span above its own: that of the first traced job, and those of the others link to it.
    Owns the ids of the jobs' spans. Invariant: each traced job is told of the batch once, when it is over.
    """

    def __init__(self, traces: Sequence[tuple[int, Trace]], backend: str, batch_size: int) -> None:
        self._traces = [(index, trace, new_span_id()) for index, trace in traces]
        _, first, span_id = self._traces[0]
        self._sent = SentBatch(backend, batch_size, "", first.trace_id, span_id)

    @classmethod
    def of(cls, jobs: Iterable[Job], backend: str, batch_size: int) -> Self | None:
        """Return it for jobs of which some are traced, else None."""
        traces = [(index, job.trace) for index, job in enumerate(jobs) if job.trace is not None]
        return cls(traces, backend, batch_size) if traces else None

    @property
    def traceparent(self) -> str:
        return self._sent.traceparent

    def queued(self, arrived_s: Iterable[float], sent_s: float) -> None:
        """Tell that the jobs, of which each one's time of arrival is given, waited until the batch was sent."""
        arrivals = tuple(arrived_s)
        for index, trace, _ in self._traces:
            trace.queued(arrivals[index], sent_s)

    def ended(self, sent_s: float, ended_s: float, error_type: str) -> None:
        """Tell how long the batch took, and what it failed with if it did."""
        sent = self._sent._replace(error_type=error_type) if error_type else self._sent
        for _, trace, span_id in self._traces:
            trace.inference(span_id, sent_s, ended_s, sent)

    def __repr__(self) -> str:
        return f"<TracedBatch of {len(self._traces)} traced jobs to {self._sent.backend}>"
