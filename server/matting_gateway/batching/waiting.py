# SPDX-License-Identifier: Apache-2.0
"""The waiting room. Pure: no clock, no asyncio; every step costs at most O(log waiting)."""

import heapq
from dataclasses import replace
from typing import Any

from matting_gateway.domain import BatchKey, Job, Priority

_BLOCK = 128  # buckets that are summed as one


class Answered:
    """Stands for the future of a job that was answered."""

    def done(self) -> bool:
        return True


_ANSWERED = Answered()


class Entry:
    """A job that was accepted and is not yet answered.

    `due_s` is when its batch must end. `avoid` names the endpoint that already failed it,
    `abandoned` says that its caller went away while it was in flight.
    `entitled` says that it was within its flow's share. `token` belongs to the shell: the job's future.
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
        "rows",
        "seq",
        "token",
        "waiting",
    )

    def __init__(self, job: Job, key: BatchKey, due_s: float, arrived_s: float, token: Any) -> None:
        self.job = job
        self.key = key
        self.rows = job.row_count
        self.due_s = due_s
        self.arrived_s = arrived_s
        self.seq = 0
        self.token = token
        self.avoid: str | None = None
        self.abandoned = False
        self.bucket = 0
        self.flow: Any = None
        self.entitled = True
        self.waiting = False

    def waiting_as(self, seq: int) -> bool:
        """Whether it waits, and still under this number: it gets a new one each time that it is put anywhere."""
        return self.waiting and self.seq == seq

    def forget(self) -> None:
        """Let go of pixels and result once answered: a dead entry may stand in a heap for long."""
        self.job = replace(self.job, inputs=())
        self.token = _ANSWERED

    @property
    def priority(self) -> Priority:
        return self.job.priority

    def __repr__(self) -> str:
        state = "waiting" if self.waiting else "gone"
        return f"<Entry {self.seq} {state}, {self.rows} rows, due {self.due_s:.3f}>"


class Lane:
    """Waiting jobs of one batch key: by priority, then earliest deadline, then arrival.

    Owns one heap for each priority, and the counts. Entries that left otherwise (cancelled,
    dropped) stay in their heap as dead ones until they surface or outnumber the living.
    Invariant: `rows` and `count` are those of the living.
    """

    __slots__ = ("_heaps", "count", "key", "noted", "rows")

    def __init__(self, key: BatchKey) -> None:
        self.key = key
        self.rows = 0
        self.count = 0
        # For its group: the number of each priority's head when it was last looked at.
        self.noted = [0 for _ in Priority]
        self._heaps: list[list[tuple[float, int, Entry]]] = [[] for _ in Priority]

    def push(self, entry: Entry) -> None:
        entry.waiting = True
        self.rows += entry.rows
        self.count += 1
        heapq.heappush(self._heaps[entry.job.priority], (entry.due_s, entry.seq, entry))

    def head_of(self, priority: int) -> Entry | None:
        """Return the first living entry of a priority, which stays."""
        heap = self._heaps[priority]
        while heap:
            _, seq, entry = heap[0]
            if entry.waiting and entry.seq == seq:
                return entry
            heapq.heappop(heap)
        return None

    def head(self) -> Entry | None:
        """Return the first living entry of all, which stays."""
        for priority, heap in enumerate(self._heaps):
            if heap:
                entry = self.head_of(priority)
                if entry is not None:
                    return entry
        return None

    def pop(self) -> Entry | None:
        """Take the first living entry out."""
        for heap in self._heaps:
            while heap:
                _, seq, entry = heapq.heappop(heap)
                if entry.waiting and entry.seq == seq:
                    self._leave(entry)
                    return entry
        return None

    def remove(self, entry: Entry) -> None:
        """Take a living entry out from wherever it stands."""
        self._leave(entry)
        heap = self._heaps[entry.job.priority]
        if len(heap) > 64 and len(heap) > 2 * self.count:
            heap[:] = [item for item in heap if item[2].waiting_as(item[1])]
            heapq.heapify(heap)

    def _leave(self, entry: Entry) -> None:
        entry.waiting = False
        self.rows -= entry.rows
        self.count -= 1

    def entries(self) -> list[Entry]:
        """Return the living entries in order: for closing and for tests, O(n log n)."""
        return [item[2] for heap in self._heaps for item in sorted(heap) if item[2].waiting_as(item[1])]

    def __repr__(self) -> str:
        return f"<Lane {self.key.model}: {self.count} jobs, {self.rows} rows>"


class DeadlineProfile:
    """How many waiting rows are due until when: what stands before a newcomer.

    A ring of buckets of time with sums over blocks of them: adding costs two additions, asking
    two short sums, whatever the number of jobs. What is due beyond the horizon counts as due at
    the horizon.
    """

    __slots__ = ("_blocks", "_buckets", "_quantum_s", "_size", "total_rows")

    def __init__(self, quantum_s: float = 0.005, bucket_count: int = 8192) -> None:
        self._quantum_s = quantum_s
        self._size = bucket_count
        self._buckets = [0] * bucket_count
        self._blocks = [0] * (bucket_count // _BLOCK)
        self.total_rows = 0

    def add(self, due_s: float, now_s: float, rows: int) -> int:
        """Count rows in; returns the bucket, which `remove` wants back."""
        first = int(now_s / self._quantum_s)
        ahead = min(max(int(due_s / self._quantum_s) - first, 0), self._size - 1)
        bucket = (first + ahead) % self._size
        self._buckets[bucket] += rows
        self._blocks[bucket // _BLOCK] += rows
        self.total_rows += rows
        return bucket

    def remove(self, bucket: int, rows: int) -> None:
        self._buckets[bucket] -= rows
        self._blocks[bucket // _BLOCK] -= rows
        self.total_rows -= rows

    def rows_due_until(self, due_s: float, now_s: float) -> int:
        """Return the rows due between now and `due_s`, both ends included."""
        first = int(now_s / self._quantum_s)
        ahead = int(due_s / self._quantum_s) - first
        if ahead < 0:
            return 0
        if ahead >= self._size - 1:
            return self.total_rows
        begin = first % self._size
        end = begin + ahead + 1
        if end <= self._size:
            return self._between(begin, end)
        return self._between(begin, self._size) + self._between(0, end - self._size)

    def _between(self, begin: int, end: int) -> int:
        first_block, last_block = -(-begin // _BLOCK), end // _BLOCK
        if first_block >= last_block:
            return sum(self._buckets[begin:end])
        return (
            sum(self._buckets[begin : first_block * _BLOCK])
            + sum(self._blocks[first_block:last_block])
            + sum(self._buckets[last_block * _BLOCK : end])
        )
