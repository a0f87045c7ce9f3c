# SPDX-License-Identifier: Apache-2.0
"""What processes hold in memory, as the kernel says."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

import psutil

# Looks again and again between "start" and "stop" on its standard input, and then says what was most. In a process
# of its own: a thread of the process that is looked at would wait for its interpreter lock just when it matters.
_SAMPLER = """
import os, select, sys
files = [os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY) for pid in sys.argv[1:]]
def look():
    total = 0
    for file in files:
        text = os.pread(file, 4096, 0)
        at = text.index(b"\\nPss:") + 5
        total += int(text[at:text.index(b"kB", at)]) * 1024
    return total
for line in iter(sys.stdin.buffer.raw.readline, b""):
    most = look()
    print(most, flush=True)
    while not select.select([0], [], [], 0)[0]:
        most = max(most, look())
    sys.stdin.buffer.raw.readline()
    print(max(most, look()), flush=True)
"""


class PeakMemory:
    """Measures, over `with` blocks, by how much processes grow at most beyond what they held at the last `settle`.

    Pages that they share are counted once. A sample takes some milliseconds, so a shorter peak can be missed.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SAMPLER, *map(str, pids)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.idle_bytes = 0
        self.grown_bytes = 0

    def __enter__(self) -> Self:
        self._ask()
        return self

    def __exit__(self, *_: object) -> None:
        self.grown_bytes = self._ask() - self.idle_bytes

    def settle(self) -> None:
        """Take what the processes hold now as what they hold when idle."""
        self.idle_bytes = self._ask()
        self._ask()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self) -> int:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the sampler's input and output are not piped")
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def resident_bytes(pid: int) -> int:
    """Return the resident memory (VmRSS) of a gateway and its decoder processes; a Triton it started is left out."""
    total = 0
    todo = [psutil.Process(pid)]
    while todo:
        process = todo.pop()
        with contextlib.suppress(psutil.Error):
            if process.pid != pid and "matting_triton" in " ".join(process.cmdline()):
                continue
            total += process.memory_info().rss
            todo += process.children()
    return total
