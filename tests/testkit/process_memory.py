# SPDX-License-Identifier: Apache-2.0
"""What processes hold in memory, as the kernel says."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

# Looks again and again between "start" and "stop" on its standard input, and then says what was most. In a process
# of its own: a thread of the process that is looked at would wait for its interpreter lock just when it matters.
# Pages of libraries are left out: a process's part of them grows when any other on the machine that has them ends.
_SAMPLER = """
import os, re, select, sys
files = [os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY) for pid in sys.argv[1:]]
part = re.compile(rb"^Pss_(?:Anon|Shmem): +(\\d+) kB$", re.M)
def look():
    return sum(1024 * int(kib) for file in files for kib in part.findall(os.pread(file, 4096, 0)))
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

    Samples what they hold together, shared pages once, and also takes each one's own high-water mark (VmHWM) with what
    the others held at the start: a sample takes some milliseconds, the mark misses nothing.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SAMPLER, *map(str, pids)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._idle_bytes = 0
        self._idle_resident = [0] * len(pids)
        self._started_resident = [0] * len(pids)
        self.grown_bytes = 0

    def __enter__(self) -> Self:
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the high-water mark
        self._started_resident = self._statuses("VmRSS")
        self._ask()
        return self

    def __exit__(self, *_: object) -> None:
        marks = self._statuses("VmHWM")
        grown = [now - idle for now, idle in zip(self._started_resident, self._idle_resident, strict=True)]
        alone = [
            mark - idle + sum(grown) - own for mark, idle, own in zip(marks, self._idle_resident, grown, strict=True)
        ]
        self.grown_bytes = max(self._ask() - self._idle_bytes, *alone)

    def settle(self) -> None:
        """Take what the processes hold now as what they hold when idle."""
        self._idle_resident = self._statuses("VmRSS")
        self._idle_bytes = self._ask()
        self._ask()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _statuses(self, field: str) -> list[int]:
        return [_status_bytes(pid, field) for pid in self._pids]

    def _ask(self) -> int:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the sampler's input and output are not piped")
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"{field} is not in the status of a process")


def shared_bytes(pid: int) -> int:
    """Return the shared memory that a process holds (RssShmem)."""
    return _status_bytes(pid, "RssShmem")


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
