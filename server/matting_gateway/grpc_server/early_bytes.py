# SPDX-License-Identifier: Apache-2.0
"""Bytes that have come and nobody reads yet."""

import mmap

# More than that is in mapped memory, of which the system gives what is written to and takes back all at the end: in the
# heap, what thousands of callers have sent would leave holes that stay with the process, where its memory is locked.
_SMALL_BYTES = 8 << 10
_MAPPED_BYTES = 128 << 10


class EarlyBytes:
    """A queue of bytes. Owns their memory; there is none where nothing has come."""

    __slots__ = ("_memory", "_size")

    def __init__(self) -> None:
        self._memory: bytearray | mmap.mmap | None = None
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: memoryview) -> None:
        """Put bytes at the end."""
        size = self._size + len(data)
        memory = self._memory
        if size <= _SMALL_BYTES and not isinstance(memory, mmap.mmap):
            if memory is None:
                self._memory = bytearray(data)
            else:
                memory += data
        else:
            if not isinstance(memory, mmap.mmap) or size > len(memory):
                memory = self._mapped(size)
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

    def _mapped(self, size: int) -> mmap.mmap:
        """Move what is there to mapped memory for so many bytes, and as many again."""
        mapped = mmap.mmap(-1, max(_MAPPED_BYTES, 2 * size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        mapped[: self._size] = self.view()
        self._memory = mapped
        return mapped

    def __repr__(self) -> str:
        return f"<EarlyBytes: {self._size}>"
