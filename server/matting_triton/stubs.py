# SPDX-License-Identifier: Apache-2.0
"""Notices when a process that runs a model in Python has died under a living Triton.

Triton 2.51 does not replace such a process: from then on it answers each call to the model with an error after a second
of waiting. Nor does it reap it, which is how it is told from one that ended because its model was unloaded.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

# Triton reaps the process of a model that it unloads within milliseconds.
_SETTLE_S = 1.0


def children_of(parent_pid: int) -> list[int]:
    """Return the process ids of a process's children, those dead and not reaped among them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        _, parent = _state_and_parent(stat)
        if parent == parent_pid:
            found.append(int(stat.parent.name))
    return found


def is_zombie_of(pid: int, parent_pid: int) -> bool:
    """Whether the process is dead and its parent has not asked for its end."""
    return _state_and_parent(Path(f"/proc/{pid}/stat")) == ("Z", parent_pid)


def _state_and_parent(stat: Path) -> tuple[str, int]:
    try:
        # proc_pid_stat(5): the name is in parentheses and may hold anything, the state and the parent come next.
        state, parent = stat.read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return "", 0  # gone meanwhile
    return state, int(parent)


class StubWatch:
    """Watches the children of one Triton, on the running loop.

    Owns one descriptor for each watched process; `close` gives all back. Where the kernel has no pidfd_open (before
    Linux 5.3) nothing is watched.

    Args:
        triton_pid: Their parent.
        on_dead: Called on the loop, once for each child that died and was not reaped.
    """

    def __init__(self, triton_pid: int, on_dead: Callable[[int], None]) -> None:
        self._triton_pid = triton_pid
        self._on_dead = on_dead
        self._loop = asyncio.get_running_loop()
        self._descriptors: dict[int, int] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def add(self, pids: Iterable[int]) -> None:
        """Watch these too; those already watched are no matter."""
        for pid in pids:
            if pid in self._descriptors:
                continue
            with contextlib.suppress(OSError):
                self._descriptors[pid] = os.pidfd_open(pid)
                self._loop.add_reader(self._descriptors[pid], self._ended, pid)

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for pid in list(self._descriptors):
            self._forget(pid)

    def _ended(self, pid: int) -> None:
        self._forget(pid)
        self._timers.add(self._loop.call_later(_SETTLE_S, self._judge, pid))

    def _judge(self, pid: int) -> None:
        if is_zombie_of(pid, self._triton_pid):
            self._on_dead(pid)

    def _forget(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
