# SPDX-License-Identifier: Apache-2.0
"""What the C library's allocator keeps of freed memory."""

import ctypes
from typing import ClassVar

# So much an idle worker keeps for the next photo, overwritten: new pages for a small one cost a quarter of its time.
_KEPT_BYTES = 8 << 20
# Blocks below this size come of what is kept; what is larger goes back to the system when it is freed (mallopt(3)).
_MMAP_THRESHOLD, _MAPPED_FROM_BYTES = -3, 4 << 20


class _Usage(ctypes.Structure):
    """`struct mallinfo2` (mallinfo(3), glibc 2.33 and newer)."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "free_chunks", "fast_chunks", "mapped_chunks", "mapped_bytes", "unused"),
            *("fast_bytes", "used_bytes", "free_bytes", "top_bytes"),
        )
    ]


class Allocator:
    """Gives freed memory back to the system, beyond what the next photo can use."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        self._trim = libc.malloc_trim
        self._usage = getattr(libc, "mallinfo2", None)
        if self._usage is not None:
            self._usage.restype = _Usage

    def give_back(self) -> None:
        """Return to the system what is free, where that is much (malloc_trim(3))."""
        if self._usage is None or self._usage().free_bytes > _KEPT_BYTES:
            self._trim(0)
