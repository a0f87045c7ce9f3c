# SPDX-License-Identifier: Apache-2.0
"""Memory for messages that is used again: to have it anew costs more than to receive into it."""

import mmap
import weakref
from collections import deque
from typing import NamedTuple, TypeAlias

import numpy as np

from grpc_h2.bodies.idle_memory import IdleMemoryWiper, Later, wipe

_STEP_BYTES = 64 << 10
_LARGEST_BYTES = 1 << 20
# Memory that has been free for so long is given back to the system.
_KEPT_TICKS = 10

_Reference: TypeAlias = "weakref.ref[np.ndarray[tuple[int], np.dtype[np.uint8]]]"


class _Piece(NamedTuple):
    """A free piece. From `used_bytes` on it holds zeros; what is before came free at `tick`."""

    memory: mmap.mmap
    used_bytes: int
    tick: int


class RecycledMemory:
    """Lends pieces of memory of up to a mebibyte; larger ones are made anew each time.

    Owns the pieces that are free, about `keep_bytes` at most. A piece that is lent lasts as long as
    any view of it; with the last, whichever thread drops it, it is free again. Lent by one thread only.
    Invariants: nobody has a view of what is free; of what was in a piece nothing is left once it is lent
    again and filled, or has been free for two ticks; what has been free for a second is not kept.
    """

    def __init__(self, *, keep_bytes: int = 8 << 20, later: Later | None = None) -> None:
        self._keep_bytes = keep_bytes
        self._wiper = IdleMemoryWiper(self._sweep, later=later)
        # By their size in steps, the last to come free first.
        self._free: tuple[deque[_Piece], ...] = tuple(deque() for _ in range(_LARGEST_BYTES // _STEP_BYTES + 1))
        # Their sum. Threads that drop memory together can get it wrong, so each sweep counts anew.
        self._free_bytes = 0
        # By the identity of the reference that tells of their end: arrays have no hash.
        self._lent: dict[int, tuple[_Reference, mmap.mmap, int]] = {}

    def lend(self, byte_count: int) -> memoryview:
        """Return writable memory of so many bytes, to be filled before anybody reads it: it may not be empty."""
        if byte_count > _LARGEST_BYTES:
            return memoryview(_mapped(byte_count))
        steps = max(1, -(-byte_count // _STEP_BYTES))
        try:
            memory, used_bytes, _ = self._free[steps].pop()
            self._free_bytes -= len(memory)
        except IndexError:
            memory, used_bytes = _mapped(steps * _STEP_BYTES), 0
        lent = np.frombuffer(memory, np.uint8)
        wipe(memory, byte_count, used_bytes)
        reference = weakref.ref(lent, self._take_back)
        self._lent[id(reference)] = reference, memory, byte_count
        self._wiper.note_in_use()
        return memoryview(lent)[:byte_count]  # type: ignore[arg-type]  # an array is a buffer

    def _take_back(self, dead: _Reference) -> None:
        _, memory, used_bytes = self._lent.pop(id(dead))
        if self._free_bytes + len(memory) <= self._keep_bytes:
            self._free_bytes += len(memory)
            self._free[len(memory) // _STEP_BYTES].append(_Piece(memory, used_bytes, self._wiper.tick))
        else:
            wipe(memory, 0, used_bytes)

    def _sweep(self) -> bool:
        """Overwrite what has rested, and give back what has for long; tell whether anything is lent or free."""
        self._free_bytes = sum(len(free) * steps * _STEP_BYTES for steps, free in enumerate(self._free))
        for free in self._free:
            for _ in range(len(free)):
                piece = free.popleft()
                if piece.used_bytes and self._wiper.rested(piece.tick):
                    wipe(piece.memory, 0, piece.used_bytes)
                    piece = piece._replace(used_bytes=0)
                if self._wiper.tick - piece.tick < _KEPT_TICKS:
                    free.append(piece)
                else:
                    self._free_bytes -= len(piece.memory)
        return bool(self._lent) or any(self._free)

    def __repr__(self) -> str:
        return f"<RecycledMemory: {len(self._lent)} lent, {self._free_bytes} bytes free>"


def _mapped(byte_count: int) -> mmap.mmap:
    """Return memory of which the system gives what is written to, and takes back all of it with the last view."""
    return mmap.mmap(-1, byte_count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
