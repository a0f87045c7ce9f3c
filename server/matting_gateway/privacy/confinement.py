# SPDX-License-Identifier: Apache-2.0
"""No file can be written: Landlock takes the right away from this process and all it will start.

Needs no privilege (Linux 5.13 and newer, Documentation/userspace-api/landlock.rst). Files that
are open already stay writable: standard output, and what is mapped.
"""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

# Numbers from linux/landlock.h and the generic system call table.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_WRITE_FILE, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK = 1 << 7, 1 << 8, 1 << 9
_MAKE_ANY = sum(1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_CONNECT_TCP = 1 << 1
_REFER_ABI, _TRUNCATE_ABI, _NET_ABI = 2, 3, 4
_PR_SET_NO_NEW_PRIVS = 38

# Writable all the same: shared memory is memory, and the null device keeps nothing.
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - shared memory with Triton is what this folder is for
_NULL_DEVICE = Path("/dev/null")
# Triton's Python backend will not start without a folder of its own here, and leaves it empty.
_TEMPORARY_FOLDER = Path("/tmp")  # noqa: S108 - its own name for it; no file can be made there
# How NVIDIA's driver names its devices: a Triton that is started from here commands a GPU by writing to them.
_DEVICE_FOLDER, _GPU_DEVICES = Path("/dev"), ("nvidia*", "nvidia-caps/*")
# Anybody may write to it, it keeps nothing, and no rule allows it: whether it opens tells whether rules are in force.
_PROBE = Path("/dev/zero")


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _NetPortAttr(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


class ConfinementError(OSError):
    """The kernel does not offer Landlock, or refused it."""


def confined() -> bool:
    """Return whether files are out of reach for writing."""
    try:
        os.close(os.open(_PROBE, os.O_WRONLY))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def confine(*, socket_folders: Sequence[Path] = (), connect_ports: Sequence[int] | None = None) -> None:
    """Give up the right to write, create, remove or rename files, but for shared memory; folders in /tmp stay empty.

    The devices of GPUs that are there can still be written to.

    Holds for the calling thread and everything it starts from now on, other programs included;
    it cannot be undone. Call it before there are other threads.

    Args:
        socket_folders: Where Unix sockets may be made and removed.
        connect_ports: The only TCP ports that may be connected to (Linux 6.7 and newer); None: any.

    Raises:
        ConfinementError: It is not possible on this machine.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    if abi < 1:
        raise ConfinementError("The kernel does not offer Landlock.")
    handled = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_ANY
    handled |= _REFER if abi >= _REFER_ABI else 0
    truncate = _TRUNCATE if abi >= _TRUNCATE_ABI else 0
    handled |= truncate
    net = _CONNECT_TCP if connect_ports is not None and abi >= _NET_ABI else 0
    attr = _RulesetAttr(handled, net)
    size = ctypes.sizeof(attr) if abi >= _NET_ABI else ctypes.sizeof(ctypes.c_uint64)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0)))
    try:
        _allow(libc, ruleset, _MEMORY_FOLDER, _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | truncate)
        _allow(libc, ruleset, _NULL_DEVICE, _WRITE_FILE | truncate)
        for device in gpu_devices():
            _allow(libc, ruleset, device, _WRITE_FILE)
        _allow(libc, ruleset, _TEMPORARY_FOLDER, _MAKE_DIR | _REMOVE_DIR)
        for folder in socket_folders:
            _allow(libc, ruleset, folder, _MAKE_SOCK | _REMOVE_FILE)
        for port in (connect_ports or ()) if net else ():
            rule = _NetPortAttr(_CONNECT_TCP, port)
            _add_rule(libc, ruleset, _RULE_NET_PORT, rule)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def gpu_devices(folder: Path = _DEVICE_FOLDER) -> list[Path]:
    """Return the devices of NVIDIA's driver: character devices only, whatever else is named so."""
    return sorted(path for names in _GPU_DEVICES for path in folder.glob(names) if path.is_char_device())


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no permission
    try:
        _add_rule(libc, ruleset, _RULE_PATH_BENEATH, _PathBeneathAttr(access, descriptor))
    finally:
        os.close(descriptor)


def _add_rule(libc: ctypes.CDLL, ruleset: int, kind: int, rule: ctypes.Structure) -> None:
    _checked(libc.syscall(_ADD_RULE, ruleset, ctypes.c_int(kind), ctypes.byref(rule), ctypes.c_uint32(0)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise ConfinementError(number, f"Landlock: {os.strerror(number)}")
    return result
