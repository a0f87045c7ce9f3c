# SPDX-License-Identifier: Apache-2.0
"""One piece of memory that gateway and a Triton both see, and its use for one batch."""

import ctypes
import mmap
import weakref
from collections.abc import Callable

from grpc_h2.bodies.idle_memory import wipe

# Tensors begin at multiples of this, which vector instructions load fastest.
_ALIGNMENT_BYTES = 64


class Slab:
    """One registered segment.

    `void` once its backend may be writing into it unseen; it is then never used again. `idle` once no batch has used
    it for a while. From `used_bytes` on it holds zeros, or will before it is used; what is before came back at `tick`.
    """

    __slots__ = ("byte_count", "idle", "memory", "region", "tick", "used_bytes", "void")

    def __init__(self, region: str, memory: mmap.mmap, byte_count: int) -> None:
        self.region = region
        self.memory = memory
        self.byte_count = byte_count
        self.used_bytes = 0
        self.tick = 0
        self.void = False
        self.idle = False

    def wipe(self, start: int = 0) -> None:
        """Overwrite what is used, from an offset on."""
        wipe(self.memory, start, self.used_bytes)
        self.used_bytes = min(self.used_bytes, start)


class Lease:
    """The use of a slab for one batch.

    It lasts as long as this object or any view of it: when the last is gone, whichever thread
    drops it, the slab is free again.

    Args:
        slab: What is lent.
        give_back: Told when it comes back, on any thread.
        filled_bytes: How much of it, from the beginning on, will be filled. The rest is empty: what a backend is to
            write and does not must not be another caller's.
    """

    def __init__(self, slab: Slab, give_back: Callable[[Slab], None], filled_bytes: int) -> None:
        self.slab = slab
        slab.wipe(filled_bytes)
        whole = (ctypes.c_char * slab.byte_count).from_buffer(slab.memory)
        weakref.finalize(whole, give_back, slab).atexit = False
        self.view = memoryview(whole).cast("B")
        self._end = 0

    def place(self, byte_count: int) -> int:
        """Return the offset of the next `byte_count` bytes; up to where those after them may begin there are zeros."""
        offset, end = self._end, self._end + byte_count
        self._end = aligned(end)
        self.view[end : self._end] = bytes(self._end - end)
        self.slab.used_bytes = max(self.slab.used_bytes, self._end)
        return offset


def aligned(byte_count: int) -> int:
    """Return `byte_count` rounded up to where the next tensor may begin."""
    return -(-byte_count // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
