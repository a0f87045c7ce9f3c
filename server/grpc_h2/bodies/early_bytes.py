# SPDX-License-Identifier: Apache-2.0
"""Bytes that have come and nobody reads yet."""

from collections.abc import Callable

# More than that is in memory that is lent. In the heap, what thousands of callers have sent would leave it fragmented,
# and a process whose memory is locked could not give it back.
_SMALL_BYTES = 8 << 10
# A window, which is what may come before anybody asks; no more, since all that was lent is overwritten in the end.
_LENT_BYTES = 64 << 10


class EarlyBytes:
    """A queue of bytes. Owns their memory, or what is lent of it; there is none where nothing has come.

    Args:
        lend: Lends writable memory of so many bytes, for as long as there is a view of it.
    """

    __slots__ = ("_lend", "_memory", "_size")

    def __init__(self, lend: Callable[[int], memoryview]) -> None:
        self._lend = lend
        self._memory: bytearray | memoryview | None = None
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: memoryview) -> None:
        """Put bytes at the end."""
        size = self._size + len(data)
        memory = self._memory
        if size <= _SMALL_BYTES and not isinstance(memory, memoryview):
            if memory is None:
                self._memory = bytearray(data)
            else:
                memory += data
        else:
            if not isinstance(memory, memoryview) or size > len(memory):
                memory = self._lent(size)
            memory[self._size : size] = data
        self._size = size

    def view(self) -> memoryview:
        """Return all of them, until something is added or dropped."""
        return memoryview(b"" if self._memory is None else self._memory)[: self._size]

    def drop(self, byte_count: int) -> None:
        """Take bytes from the front."""
        if byte_count:
            rest = bytes(self.view()[byte_count:])
            self._memory, self._size = None, 0
            if rest:
                self.add(memoryview(rest))

    def _lent(self, size: int) -> memoryview:
        """Move what is there to lent memory for so many bytes."""
        lent = self._lend(-(-size // _LENT_BYTES) * _LENT_BYTES)
        lent[: self._size] = self.view()
        self._memory = lent
        return lent

    def __repr__(self) -> str:
        return f"<EarlyBytes: {self._size}>"
