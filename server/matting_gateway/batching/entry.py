# SPDX-License-Identifier: Apache-2.0
"""A job while the scheduler has it. Pure: no clock, no asyncio."""

from typing import Protocol

from matting_gateway.domain.job import BatchKey, Job, JobResult
from matting_gateway.errors import GatewayError


class ResultReceiver(Protocol):
    """Who is told, once, what became of a job, unless `done` already: a future, or something cheaper."""

    def done(self) -> bool: ...

    def set_result(self, result: JobResult, /) -> None: ...

    def set_exception(self, error: GatewayError, /) -> None: ...


class RowCount(Protocol):
    """What counts the rows that wait: the flow of a job."""

    rows: int


_NO_JOB = Job(BatchKey("", "", ()), (), 0, 0.0)


class Entry:
    """A job that was accepted and is not yet answered.

    `due_s` is when its batch must end. `avoid` names the endpoint that already failed it,
    `abandoned` says that its caller went away while it was in flight.
    `entitled` says that it was within its flow's share. `receiver` belongs to the shell: who is told of the answer.
    """

    __slots__ = (
        "abandoned",
        "arrived_s",
        "avoid",
        "bucket",
        "due_s",
        "entitled",
        "flow",
        "job",
        "key",
        "priority",
        "receiver",
        "rows",
        "seq",
        "waiting",
    )

    def __init__(self, job: Job, key: BatchKey, arrived_s: float, receiver: ResultReceiver | None) -> None:
        self.job = job
        self.key = key
        self.rows = job.row_count
        self.priority = job.priority
        self.due_s = job.deadline_s
        self.arrived_s = arrived_s
        self.seq = 0
        self.receiver = receiver
        self.avoid: str | None = None
        self.abandoned = False
        self.bucket = 0
        self.flow: RowCount | None = None
        self.entitled = True
        self.waiting = False

    def waiting_as(self, seq: int) -> bool:
        """Whether it waits, and still under this number: it gets a new one each time that it is put anywhere."""
        return self.waiting and self.seq == seq

    def forget(self) -> None:
        """Let go of pixels and result once answered: a dead entry may stand in a heap for long."""
        self.job = _NO_JOB
        self.receiver = None

    def __repr__(self) -> str:
        state = "waiting" if self.waiting else "gone"
        return f"<Entry {self.seq} {state}, {self.rows} rows, due {self.due_s:.3f}>"
