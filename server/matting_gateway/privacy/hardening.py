# SPDX-License-Identifier: Apache-2.0
"""What the process gives up so that images stay in it, and what of that was achieved."""

import contextlib
import ctypes
import os
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matting_gateway.array_memory import use_python_allocator
from matting_gateway.privacy.confinement import ConfinementError, confine, confined
from matting_gateway.privacy.environment import (
    SCRUB_BYTE,
    required_environment,
    scrub_environment,
    start_over_with,
)
from matting_gateway.privacy.settings import HardeningSettings

__all__ = [
    "Hardening",
    "apply",
    "reexec_if_needed",
    "required_environment",
    "scrub_environment",
]

# Numbers from linux/prctl.h, sys/mman.h and linux/capability.h.
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14
_SAFE_UMASK = 0o077
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Hardening:
    """What holds in the running process, read back from the system; `problems` says why something does not."""

    core_dumps_off: bool
    dumpable_off: bool
    memory_locked: bool
    swap_off: bool
    umask_safe: bool
    no_new_privileges: bool
    freed_memory_scrubbed: bool
    files_confined: bool
    root_read_only: bool
    seccomp: bool
    problems: tuple[str, ...] = ()


def reexec_if_needed(
    settings: HardeningSettings,
    environ: Mapping[str, str],
    *,
    socket_folders: Sequence[Path] = (),
    connect_ports: Sequence[int] | None = None,
) -> None:
    """Give up the right to write files, and start over if the environment is not the right one.

    The first thing that the program does once its settings are read: before threads, before grpc,
    and after the last file was written. Returns in the process that goes on.
    """
    # What fails here is read back, and told of, by `apply`.
    with contextlib.suppress(OSError):
        _empty_core_dumps()
    if settings.confine_files and not confined():
        with contextlib.suppress(ConfinementError):
            confine(socket_folders=socket_folders, connect_ports=connect_ports)
    wanted = required_environment(environ, scrub_memory=settings.scrub_memory)
    if wanted != dict(environ):
        start_over_with(wanted)


def apply(settings: HardeningSettings) -> Hardening:
    """Harden the running process, and return what was achieved.

    Before the local Triton is started: limits, the filter of core dumps and the ban on new
    privileges are inherited by what we start.
    """
    problems: list[str] = []
    libc = ctypes.CDLL(None, use_errno=True)
    if settings.scrub_memory:
        use_python_allocator()
    os.umask(_SAFE_UMASK)
    _try(problems, "core dumps cannot be limited", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    _try(problems, "core dumps of child processes are not emptied", _empty_core_dumps)
    _try(problems, "privileges can still be gained", lambda: _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1))
    if settings.lock_memory:
        _try(problems, "memory is not locked", lambda: _lock_memory(libc))
    locked = _locked_bytes() > 0
    # Last, for it closes /proc/self to us where we are not root.
    _try(problems, "the process is dumpable", lambda: _prctl(libc, _PR_SET_DUMPABLE, 0))
    return Hardening(
        core_dumps_off=resource.getrlimit(resource.RLIMIT_CORE) == (0, 0),
        dumpable_off=libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0,
        memory_locked=locked,
        swap_off=swap_off(),
        umask_safe=_umask() == _SAFE_UMASK,
        no_new_privileges=libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
        freed_memory_scrubbed=freed_memory_is_scrubbed(libc),
        files_confined=confined(),
        root_read_only=bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        seccomp=_status("Seccomp") not in {"", "0"},
        problems=tuple(problems),
    )


def swap_off() -> bool:
    """Return whether the machine has no swap at all."""
    try:
        return len((_PROC / "swaps").read_text("ascii").splitlines()) <= 1
    except OSError:
        return False


def freed_memory_is_scrubbed(libc: ctypes.CDLL) -> bool:
    """Return whether what is freed really is overwritten, by looking: a small block and a large one."""
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    libc.free.restype = None
    return all(_freed_block_is_scrubbed(libc, byte_count) for byte_count in (512, 65_536))


def _freed_block_is_scrubbed(libc: ctypes.CDLL, byte_count: int) -> bool:
    block = libc.malloc(byte_count)
    guard = libc.malloc(byte_count)  # keeps the freed block from being given back to the system
    if not block or not guard:
        return False
    ctypes.memset(block, 0x11, byte_count)
    middle = (ctypes.c_ubyte * 64).from_address(block + byte_count // 2)
    libc.free(block)
    # Our heap, mapped still, and no other thread has reason to touch it.
    scrubbed = set(middle) == {SCRUB_BYTE}
    libc.free(guard)
    return scrubbed


def _try(problems: list[str], what: str, act: Callable[[], None]) -> None:
    try:
        act()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        problems.append(f"{what}: {reason}")


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _lock_memory(libc: ctypes.CDLL) -> None:
    """Lock all pages as they are touched. Under a limit this would make allocations fail later, so then not at all."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    may_exceed = bool(int(_status("CapEff") or "0", 16) >> _CAP_IPC_LOCK & 1)
    if hard != resource.RLIM_INFINITY and not may_exceed:
        raise OSError(0, f"the limit RLIMIT_MEMLOCK is {hard} bytes; it must be unlimited")
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _locked_bytes() -> int:
    return int((_status("VmLck") or "0").split()[0]) * 1024


def _status(field: str) -> str:
    try:
        lines = (_PROC / "self/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:")), "")


def _umask() -> int:
    current = os.umask(_SAFE_UMASK)
    os.umask(current)
    return current


def _empty_core_dumps() -> None:
    """Leave all memory out of core dumps, our children's too: a core_pattern that is a pipe ignores the limit."""
    path = _PROC / "self/coredump_filter"
    if int(path.read_text("ascii"), 16) != 0:
        path.write_text("0", "ascii")
