# SPDX-License-Identifier: Apache-2.0
"""What a decoder process gives up before it sees the first photo (Linux).

A seccomp filter (kernel documentation, userspace-api/seccomp_filter) leaves memory, threads, time and the open
socket; files, network, programs and other processes are refused with EPERM. It knows the system calls of x86-64;
elsewhere only the resource limits hold.
"""

import ctypes
import os
import platform
import resource
import struct

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_AUDIT_ARCH_X86_64 = 0xC000003E
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_AT_NUMBER, _AT_ARCH, _AT_FIRST_ARGUMENT = 0, 4, 16

# read write close fstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn sched_yield
# mremap madvise alarm getpid sendto recvfrom sendmsg recvmsg exit fcntl gettimeofday getrusage sigaltstack gettid
# futex sched_getaffinity clock_gettime exit_group tgkill set_robust_list prlimit64 getrandom rseq
_ALLOWED = (
    0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 37, 39, 44, 45, 46, 47, 60, 72, 96, 98, 131, 186,
    202, 204, 228, 231, 234, 273, 302, 318, 334,
)  # fmt: skip
_CLONE, _CLONE3, _CLONE_THREAD = 56, 435, 0x00010000
_OPEN_FILES = 32


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def enter_sandbox() -> bool:
    """Drop what decoding does not need. Irrevocable. Returns whether the system-call filter is in force."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    if platform.machine() != "x86_64":
        return False
    program = b"".join(_instructions())
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_program = _Program(len(program) // 8, ctypes.addressof(buffer))
    return _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_program))


class MemoryLimit:
    """Bounds the address space. Made before the sandbox is entered: it keeps the one file open that it reads."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def allow(self, extra_bytes: int) -> None:
        """Let the address space grow by at most `extra_bytes` from where it is now."""
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (self._bytes(0) + extra_bytes, hard))

    def resident_bytes(self) -> int:
        """Return how much memory the process has."""
        return self._bytes(1)

    def _bytes(self, column: int) -> int:
        os.lseek(self._statm, 0, os.SEEK_SET)
        return int(os.read(self._statm, 128).split()[column]) * self._page_bytes


def _prctl(libc: ctypes.CDLL, option: int, first: int, second: int = 0) -> bool:
    result = libc.prctl(ctypes.c_int(option), ctypes.c_ulong(first), ctypes.c_ulong(second), 0, 0)
    return int(result) == 0


def _instructions() -> list[bytes]:
    """The filter as BPF: right architecture, then thread creation, then the list, else EPERM."""
    deny = _step(_RETURN, _RET_ERRNO | _EPERM)
    allow = _step(_RETURN, _RET_ALLOW)
    return [
        _step(_LOAD, _AT_ARCH),
        _step(_EQUAL, _AUDIT_ARCH_X86_64, 1, 0),
        deny,
        _step(_LOAD, _AT_NUMBER),
        # The flags of clone3 are behind a pointer; without it the C library uses clone.
        _step(_EQUAL, _CLONE3, 0, 1),
        _step(_RETURN, _RET_ERRNO | _ENOSYS),
        *(step for number in _ALLOWED for step in (_step(_EQUAL, number, 0, 1), allow)),
        _step(_EQUAL, _CLONE, 1, 0),
        deny,
        _step(_LOAD, _AT_FIRST_ARGUMENT),
        _step(_ANY_BIT, _CLONE_THREAD, 0, 1),
        allow,
        deny,
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
