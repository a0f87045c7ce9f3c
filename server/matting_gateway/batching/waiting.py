# SPDX-License-Identifier: Apache-2.0
"""The waiting room. Pure: no clock, no asyncio; every step costs at most O(log waiting)."""

import heapq
from typing import Any

from matting_gateway.domain import BatchKey, Job, Priority

_BLOCK = 128  # buckets that are summed as one


class Entry:
    """A job that was accepted and is not yet answered.

    `due_s` is when its batch must end. `avoid` names the endpoint that already failed it.
    `token` belongs to the shell: the job's future.
    """

    __slots__ = ("arrived_s", "avoid", "bucket", "due_s", "flow", "job", "key", "rows", "seq", "token", "waiting")

    def __init__(self, job: Job, key: BatchKey, due_s: float, arrived_s: float, token: Any) -> None:
        self.job = job
        self.key = key
        self.rows = job.row_count
        self.due_s = due_s
        self.arrived_s = arrived_s
        self.seq = 0
        self.token = token
        self.avoid: str | None = None
        self.bucket = 0
        self.flow: Any = None
        self.waiting = False

    def waiting_as(self, seq: int) -> bool:
        """Whether it waits, and still under this number: it gets a new one each time that it is put anywhere."""
        return self.waiting and self.seq == seq

    @property
    def priority(self) -> Priority:
        return self.job.priority

    def __repr__(self) -> str:
        state = "waiting" if self.waiting else "gone"
        return f"<Entry {self.seq} {state}, {self.rows} rows, due {self.due_s:.3f}>"


class Lane:
    """Waiting jobs of one batch key: by priority, then earliest deadline, then arrival.

    Owns the heap and the row count. Entries that left otherwise (cancelled, dropped) stay in the
    heap as dead ones until they surface or outnumber the living. Invariant: `rows` and `count`
    are those of the living.
    """

    __slots__ = ("_heap", "count", "key", "rows")

    def __init__(self, key: BatchKey) -> None:
        self.key = key
        self.rows = 0
        self.count = 0
        self._heap: list[tuple[int, float, int, Entry]] = []

    def push(self, entry: Entry) -> None:
        entry.waiting = True
        self.rows += entry.rows
        self.count += 1
        heapq.heappush(self._heap, (entry.job.priority, entry.due_s, entry.seq, entry))

    def head(self) -> Entry | None:
        """Return the first living entry, which stays."""
        heap = self._heap
        while heap:
            _, _, seq, entry = heap[0]
            if entry.waiting_as(seq):
                return entry
            heapq.heappop(heap)
        return None

    def pop(self) -> Entry | None:
        """Take the first living entry out."""
        entry = self.head()
        if entry is not None:
            heapq.heappop(self._heap)
            self._leave(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Take a living entry out from wherever it stands."""
        self._leave(entry)
        if len(self._heap) > 64 and len(self._heap) > 2 * self.count:
            self._heap = [item for item in self._heap if item[3].waiting_as(item[2])]
            heapq.heapify(self._heap)

    def _leave(self, entry: Entry) -> None:
        entry.waiting = False
        self.rows -= entry.rows
        self.count -= 1

    def entries(self) -> list[Entry]:
        """Return the living entries in order: for drain and for tests, O(n log n)."""
        return [item[3] for item in sorted(self._heap) if item[3].waiting_as(item[2])]

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
