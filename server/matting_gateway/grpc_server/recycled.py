# SPDX-License-Identifier: Apache-2.0
"""Memory for messages, overwritten and used again: to have it anew costs more than to receive into it."""

import ctypes
import weakref
from collections import deque
from typing import TypeAlias

import numpy as np

_STEP_BYTES = 16 << 10
_LARGEST_BYTES = 1 << 20

_Reference: TypeAlias = "weakref.ref[np.ndarray[tuple[int], np.dtype[np.uint8]]]"


class RecycledMemory:
    """Lends pieces of memory of up to a mebibyte; larger ones are made anew each time.

    Owns the pieces that are free, at most `keep_bytes`. A piece that is lent lasts as long as any
    view of it; with the last, whichever thread drops it, it is overwritten and free again.
    Invariant: what is free holds zeros, and nobody has a view of it.
    """

    def __init__(self, *, keep_bytes: int = 16 << 20) -> None:
        self._keep_bytes = keep_bytes
        self._kept_bytes = 0
        self._free: dict[int, deque[bytearray]] = {}
        # By the identity of the reference that tells of their end: arrays have no hash.
        self._lent: dict[int, tuple[_Reference, bytearray, int]] = {}

    def lend(self, byte_count: int) -> memoryview:
        """Return writable memory of so many bytes, all zero."""
        if byte_count > _LARGEST_BYTES:
            return memoryview(bytearray(byte_count))
        size_bytes = -(-byte_count // _STEP_BYTES) * _STEP_BYTES
        free = self._free.get(size_bytes)
        if free:
            memory = free.pop()
            self._kept_bytes -= size_bytes
        else:
            memory = bytearray(size_bytes)
        lent = np.frombuffer(memory, np.uint8)
        reference = weakref.ref(lent, self._take_back)
        self._lent[id(reference)] = reference, memory, byte_count
        return memoryview(lent)[:byte_count]  # type: ignore[arg-type]  # an array is a buffer

    def _take_back(self, dead: _Reference) -> None:
        _, memory, used_bytes = self._lent.pop(id(dead))
        wiped = (ctypes.c_char * len(memory)).from_buffer(memory)
        ctypes.memset(wiped, 0, used_bytes)
        del wiped
        if self._kept_bytes + len(memory) <= self._keep_bytes:
            self._kept_bytes += len(memory)
            self._free.setdefault(len(memory), deque()).append(memory)

    def __repr__(self) -> str:
        return f"<RecycledMemory: {len(self._lent)} lent, {self._kept_bytes} bytes free>"
