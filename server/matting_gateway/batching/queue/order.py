# SPDX-License-Identifier: Apache-2.0
"""Entries in the order in which they leave. Pure; every step costs O(log waiting) comparisons."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter

from matting_gateway.batching.entry import Entry

_CHUNK = 512  # entries; what grows to twice as many is cut in two, so that making room in it stays cheap

_Item = tuple[float, int, Entry]
_ENTRY = itemgetter(2)


class Order:
    """Entries by earliest deadline, then arrival.

    Owns them in sorted chunks, the most urgent last: a batch is taken off the end of a list, where
    a heap would have to be mended once for each of its jobs, and whoever leaves early is found by
    bisection. Invariants: no chunk is empty, `_lowest` holds the first item of each.
    """

    __slots__ = ("_chunks", "_lowest")

    def __init__(self) -> None:
        self._chunks: list[list[_Item]] = []
        self._lowest: list[_Item] = []

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the most urgent first."""
        return map(_ENTRY, chain.from_iterable(map(reversed, reversed(self._chunks))))

    def add(self, entry: Entry) -> None:
        item = (-entry.due_s, -entry.seq, entry)
        if not self._chunks:
            self._chunks.append([item])
            self._lowest.append(item)
            return
        at = max(bisect_right(self._lowest, item) - 1, 0)
        chunk = self._chunks[at]
        insort(chunk, item)
        self._lowest[at] = chunk[0]
        if len(chunk) >= 2 * _CHUNK:
            self._chunks.insert(at + 1, chunk[_CHUNK:])
            self._lowest.insert(at + 1, chunk[_CHUNK])
            del chunk[_CHUNK:]

    def first(self) -> Entry | None:
        """Return the most urgent entry, which stays."""
        return self._chunks[-1][-1][2] if self._chunks else None

    def take(self, entries: Sequence[Entry]) -> None:
        """Take entries out, given in their order; if they are the first ones that costs next to nothing."""
        count = len(entries)
        chunk = self._chunks[-1]
        if count < len(chunk) and chunk[-count][2] is entries[-1]:
            del chunk[-count:]
        else:
            for entry in entries:
                self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        item = (-entry.due_s, -entry.seq, entry)
        at = bisect_right(self._lowest, item) - 1
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, item)]
        if chunk:
            self._lowest[at] = chunk[0]
        else:
            del self._chunks[at], self._lowest[at]
