# SPDX-License-Identifier: Apache-2.0
"""What the C library's allocator keeps of freed memory."""

import ctypes
from collections.abc import Callable

# So much an idle worker keeps for the next photo, overwritten: new pages for a small one cost a quarter of its time.
_KEPT_BYTES = 8 << 20
# Blocks below this size come of what is kept; what is larger goes back to the system when it is freed (mallopt(3)).
_MMAP_THRESHOLD, _MAPPED_FROM_BYTES = -3, 4 << 20


class Allocator:
    """Gives freed memory back to the system, beyond what the next photo can use. Made when all is loaded.

    Args:
        resident_bytes: Tells how much memory the process has.
    """

    def __init__(self, resident_bytes: Callable[[], int]) -> None:
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        self._trim = libc.malloc_trim
        self._resident_bytes = resident_bytes
        self._give_back_all()

    def give_back(self) -> None:
        """Return to the system what is free, where that is much (malloc_trim(3))."""
        if self._resident_bytes() > self._idle_bytes + _KEPT_BYTES:
            self._give_back_all()

    def _give_back_all(self) -> None:
        self._trim(0)
        self._idle_bytes = self._resident_bytes()
