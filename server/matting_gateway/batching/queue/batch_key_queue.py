# SPDX-License-Identifier: Apache-2.0
"""Jobs that wait, by batch key. Pure: no clock, no asyncio; every step costs at most O(log waiting)."""

from collections.abc import Iterator, Sequence
from itertools import chain

from matting_gateway.batching.entry import Entry
from matting_gateway.batching.queue.order import Order
from matting_gateway.domain.job import BatchKey, Priority

_BLOCK = 128  # buckets that are summed as one


class BatchKeyQueue:
    """Waiting jobs of one batch key: by priority, then earliest deadline, then arrival.

    Owns one order for each priority, and the counts. Invariant: `rows` and `count` are those of
    the entries in them, of which each is marked as waiting.
    """

    __slots__ = ("_orders", "count", "key", "noted", "rows")

    def __init__(self, key: BatchKey) -> None:
        self.key = key
        self.rows = 0
        self.count = 0
        # For its group, which keeps it: the number of each priority's head, 0 for none.
        self.noted = [0 for _ in Priority]
        self._orders = [Order() for _ in Priority]

    def push(self, entry: Entry) -> None:
        entry.waiting = True
        self.rows += entry.rows
        self.count += 1
        self._orders[entry.priority].add(entry)

    def head_of(self, priority: int) -> Entry | None:
        """Return the first entry of a priority, which stays."""
        return self._orders[priority].first()

    def head(self) -> Entry | None:
        """Return the first entry of all, which stays."""
        for order in self._orders:
            if order:
                return order.first()
        return None

    def __iter__(self) -> Iterator[Entry]:
        """Yield all entries in order; none may come or go meanwhile."""
        return chain.from_iterable(self._orders)

    def take(self, entries: Sequence[Entry]) -> None:
        """Take entries of one priority out, given in their order, from wherever they stand."""
        self._orders[entries[0].priority].take(entries)
        self.count -= len(entries)
        for entry in entries:
            entry.waiting = False
            self.rows -= entry.rows

    def __repr__(self) -> str:
        return f"<BatchKeyQueue {self.key.model}: {self.count} jobs, {self.rows} rows>"


class DeadlineProfile:
    """How many waiting rows are due until when: what stands before a newcomer.

    A ring of buckets of time with sums over blocks of them: adding costs two additions, asking
    two short sums, whatever the number of jobs. What is due beyond the horizon counts as due at
    the horizon.
    """

    __slots__ = ("_blocks", "_buckets", "_latest_s", "_quantum_s", "_size", "total_rows")

    def __init__(self, quantum_s: float = 0.005, bucket_count: int = 8192) -> None:
        self._quantum_s = quantum_s
        self._size = bucket_count
        self._buckets = [0] * bucket_count
        self._blocks = [0] * (bucket_count // _BLOCK)
        self.total_rows = 0
        self._latest_s = float("-inf")  # nothing that is counted is due later

    def add(self, due_s: float, now_s: float, rows: int) -> int:
        """Count rows in; returns the bucket, which the entry keeps for `remove`."""
        first = int(now_s / self._quantum_s)
        ahead = min(max(int(due_s / self._quantum_s) - first, 0), self._size - 1)
        bucket = (first + ahead) % self._size
        self._buckets[bucket] += rows
        self._blocks[bucket // _BLOCK] += rows
        self.total_rows += rows
        if due_s > self._latest_s:
            self._latest_s = due_s
        return bucket

    def remove(self, entries: Sequence[Entry]) -> None:
        """Count the rows of entries out, each from its bucket."""
        buckets, blocks, total = self._buckets, self._blocks, 0
        for entry in entries:
            rows = entry.rows
            buckets[entry.bucket] -= rows
            blocks[entry.bucket // _BLOCK] -= rows
            total += rows
        self.total_rows -= total
        if not self.total_rows:
            self._latest_s = float("-inf")

    def rows_due_until(self, due_s: float, now_s: float) -> int:
        """Return the rows due between now and `due_s`, both ends included."""
        if due_s >= self._latest_s:
            return self.total_rows
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
