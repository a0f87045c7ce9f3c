# SPDX-License-Identifier: Apache-2.0
"""The heap of the C library: what was freed in small pieces stays with the process until it is told otherwise."""

import ctypes


def give_back_free_memory() -> bool:
    """Give free memory back to the system, also from between pieces in use; tell whether that could be done.

    It takes milliseconds for each hundred megabytes. Elsewhere than with glibc there is no such thing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
