# SPDX-License-Identifier: Apache-2.0
"""The small process between a program and its Triton: nothing of Triton is left when either of them has ended.

Runs on the standard library alone, as a script of its own:

    python -I -S shepherd.py CONTROL_FD PARENT_PID GRACE_S SHM_PREFIX COMMAND...

It starts COMMAND in a process group of its own, writes its process id as one line to CONTROL_FD, and stays until

- COMMAND ends by itself;
- CONTROL_FD is closed at the other end or SIGTERM comes: COMMAND gets SIGTERM, and GRACE_S later SIGKILL;
- PARENT_PID dies in whatever way: COMMAND gets SIGKILL.

Then it kills what is left of the group, waits until no descendant is left (it is their subreaper, so also those whose
own parent died), removes the shared-memory segments whose names begin with SHM_PREFIX and exits as COMMAND did. Should
it be killed itself, the kernel kills COMMAND (PR_SET_PDEATHSIG, prctl(2)).
"""

import contextlib
import ctypes
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time

SHM_FOLDER = "/dev/shm"  # noqa: S108 -- where Linux keeps POSIX shared memory
# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def remove_segments(prefix: str) -> int:
    """Remove the shared-memory segments whose names begin with `prefix`; return how many there were."""
    removed = 0
    for name in os.listdir(SHM_FOLDER):
        if name.startswith(prefix):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{SHM_FOLDER}/{name}")
                removed += 1
    return removed


def remove_orphans(prefix: str) -> int:
    """Remove segments called `prefix` PID `_`... whose process PID is gone; return how many there were.

    Only a kill of a program and its shepherd in one moment, while Triton starts, leaves such.
    """
    owned = re.compile(re.escape(prefix) + r"(\d+)_")
    found = {int(match[1]) for name in os.listdir(SHM_FOLDER) if (match := owned.match(name))}
    return sum(remove_segments(f"{prefix}{pid}_") for pid in found if not os.path.exists(f"/proc/{pid}"))


def kill_group(group: int) -> None:
    """Kill a process group; one that is gone is as good."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    shepherd_pid = os.getpid()

    def bind_to_shepherd() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shepherd_pid:  # died between fork and prctl
            os._exit(1)

    # This process has one thread, so code between fork and exec is safe.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=bind_to_shepherd)  # noqa: PLW1509


def _watch_parent(parent_pid: int) -> int | None:
    """Return a descriptor that becomes readable when the parent dies, where the kernel has such (Linux 5.3)."""
    try:
        return os.pidfd_open(parent_pid)
    except OSError:
        return None  # the control socket tells as well, unless a forked child of the parent holds it open


def _wait(child: "subprocess.Popen[bytes]", control: int, parent_pid: int, grace_s: float) -> None:
    """Return when the child has ended or has to be killed."""
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write)
    parent = _watch_parent(parent_pid)
    poller = select.poll()
    for descriptor in (wakeup_read, control, parent):
        if descriptor is not None:
            poller.register(descriptor, select.POLLIN)
    kill_at: float | None = None
    while child.poll() is None:
        timeout_ms = None if kill_at is None else max(0, (kill_at - time.monotonic()) * 1000)
        ready = {descriptor for descriptor, _ in poller.poll(timeout_ms)}
        asked = False
        if wakeup_read in ready:
            asked = signal.SIGTERM in os.read(wakeup_read, 64)
        if control in ready and not os.read(control, 64):
            poller.unregister(control)
            asked = True
        if os.getppid() != parent_pid or (kill_at is not None and time.monotonic() >= kill_at):
            return
        if asked and kill_at is None:
            kill_at = time.monotonic() + grace_s
            child.terminate()


def main(arguments: list[str]) -> int:
    """Run one command until it, its parent or its time ends; return its exit code."""
    control, parent_pid = int(arguments[0]), int(arguments[1])
    grace_s, prefix, command = float(arguments[2]), arguments[3], arguments[4:]
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Photos pass through these processes: no core file, and segments that only this user can open.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    child = _start(command)
    with contextlib.suppress(OSError):
        os.write(control, f"{child.pid}\n".encode())
    try:
        _wait(child, control, parent_pid, grace_s)
    finally:
        kill_group(child.pid)
        code = child.wait()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        remove_segments(prefix)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
