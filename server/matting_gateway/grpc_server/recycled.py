# SPDX-License-Identifier: Apache-2.0
"""Memory for messages, overwritten and used again: to have it anew costs more than to receive into it."""

import ctypes
import weakref
from collections import deque
from typing import TypeAlias

import numpy as np

_STEP_BYTES = 64 << 10
_LARGEST_BYTES = 1 << 20

_Reference: TypeAlias = "weakref.ref[np.ndarray[tuple[int], np.dtype[np.uint8]]]"


class RecycledMemory:
    """Lends pieces of memory of up to a mebibyte; larger ones are made anew each time.

    Owns the pieces that are free, about `keep_bytes` at most. A piece that is lent lasts as long as
    any view of it; with the last, whichever thread drops it, it is overwritten and free again. Lent
    by one thread only. Invariant: what is free holds zeros, and nobody has a view of it.
    """

    def __init__(self, *, keep_bytes: int = 16 << 20) -> None:
        self._keep_bytes = keep_bytes
        # By their size in steps. There is no sum of them that threads could get wrong together.
        self._free: tuple[deque[bytearray], ...] = tuple(deque() for _ in range(_LARGEST_BYTES // _STEP_BYTES + 1))
        # By the identity of the reference that tells of their end: arrays have no hash.
        self._lent: dict[int, tuple[_Reference, bytearray, int]] = {}

    def lend(self, byte_count: int) -> memoryview:
        """Return writable memory of so many bytes, all zero."""
        if byte_count > _LARGEST_BYTES:
            return memoryview(bytearray(byte_count))
        steps = -(-byte_count // _STEP_BYTES)
        free = self._free[steps]
        memory = free.pop() if free else bytearray(steps * _STEP_BYTES)
        lent = np.frombuffer(memory, np.uint8)
        reference = weakref.ref(lent, self._take_back)
        self._lent[id(reference)] = reference, memory, byte_count
        return memoryview(lent)[:byte_count]  # type: ignore[arg-type]  # an array is a buffer

    def _take_back(self, dead: _Reference) -> None:
        _, memory, used_bytes = self._lent.pop(id(dead))
        wiped = (ctypes.c_char * len(memory)).from_buffer(memory)
        ctypes.memset(wiped, 0, used_bytes)
        del wiped
        if self._free_bytes() + len(memory) <= self._keep_bytes:
            self._free[len(memory) // _STEP_BYTES].append(memory)

    def _free_bytes(self) -> int:
        return sum(steps * _STEP_BYTES * len(free) for steps, free in enumerate(self._free))

    def __repr__(self) -> str:
        return f"<RecycledMemory: {len(self._lent)} lent, {self._free_bytes()} bytes free>"
