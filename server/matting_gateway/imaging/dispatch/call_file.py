# SPDX-License-Identifier: Apache-2.0
"""The memory of one call, which its workers are handed: a file without a name, in memory (memfd_create(2))."""

import fcntl
import mmap
import os

from open_inference.tensors import Buffer

from matting_gateway.errors import InternalError

# Whoever is handed the file can neither cut it off under whoever has it mapped nor make it larger (fcntl.h).
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class CallFile:
    """One file of one call. Owns the descriptor until `close`; the mapping goes with the last view of it.

    It is never used for another call, so that no worker that was handed it sees another call's photo. Its pages are
    there once something was written to them, and go back to the system, which clears them.

    Raises:
        InternalError: There is no memory, or no descriptor.
    """

    __slots__ = ("_memory", "byte_count", "descriptor")

    def __init__(self, byte_count: int) -> None:
        self.byte_count = byte_count
        try:
            self.descriptor = os.memfd_create("photo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise _exhausted() from error
        try:
            os.ftruncate(self.descriptor, byte_count)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self._memory = mmap.mmap(self.descriptor, byte_count)
        except OSError as error:
            self.close()
            raise _exhausted() from error

    def write(self, offset: int, data: Buffer) -> None:
        """Write whole `data`; new pages cost less so than through the mapping.

        Raises:
            InternalError: There is no memory.
        """
        rest = memoryview(data).cast("B")
        try:
            while rest.nbytes:
                written = os.pwrite(self.descriptor, rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError as error:
            raise _exhausted() from error

    def view(self, offset: int, byte_count: int) -> memoryview:
        """Return a part of it. It stays readable after `close`."""
        return memoryview(self._memory)[offset : offset + byte_count]

    def close(self) -> None:
        """Close the descriptor; again is harmless."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _exhausted() -> InternalError:
    return InternalError("There is no memory, or no descriptor, to hand a photo to a worker.")
