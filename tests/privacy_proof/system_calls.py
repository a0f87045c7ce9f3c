# SPDX-License-Identifier: Apache-2.0
"""Reads what strace saw: files written or made, and connections to anywhere else."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# `-ff` gives each thread a file of its own, so that no call's line is cut in two.
TRACED = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,rename,renameat,renameat2"
    ",truncate,ftruncate,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice,connect,sendto"
)

_LINE = re.compile(r"(?P<time>\d+\.\d+) (?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+|\?)")
_FD = re.compile(r"(?P<fd>\d+)<(?P<what>.*?)(?:>|$)")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_WRITING = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND")
# Memory, the kernel's own tables, and what keeps nothing.
_HARMLESS = ("/dev/shm/", "/dev/null", "/proc/", "/memfd:", "/sys/fs/cgroup", "/dev/tty", "/dev/pts/", "/dev/ptmx")
_STANDARD = {"1", "2"}
_NO_FILE = ("pipe:", "socket:", "anon_inode:", "TCP:", "UNIX", "UDP:", "NETLINK", "/memfd:")


def command(folder: Path) -> list[str]:
    """Return the beginning of a command that writes what it sees to `folder`."""
    return [
        "strace",
        "-f",
        "-ff",
        "-qq",
        "-ttt",
        "-y",
        "-s",
        "256",
        "-e",
        f"trace={TRACED}",
        "-o",
        str(folder / "calls"),
    ]


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not happen. `denied`: the system did not let it."""

    at_s: float
    call: str
    target: str
    denied: bool


def violations(folder: Path, *, since_s: float) -> list[Violation]:
    """Return what happened after `since_s` (seconds of the epoch), in order."""
    found = [
        v for path in folder.glob("calls.*") for v in violations_in(path.read_text("utf-8", "replace").splitlines())
    ]
    return sorted((v for v in found if v.at_s >= since_s), key=lambda v: v.at_s)


def call_count(folder: Path) -> int:
    """Return how many calls were seen at all."""
    return sum(map(len, _threads(folder)))


def _threads(folder: Path) -> Iterable[list[str]]:
    return (path.read_text("utf-8", "replace").splitlines() for path in folder.glob("calls.*"))


def violations_in(lines: Iterable[str]) -> list[Violation]:
    """Return the violations among one thread's lines."""
    found = []
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        target = _target(match["name"], match["arguments"])
        if target is not None:
            found.append(Violation(float(match["time"]), match["name"], target, denied=match["result"].startswith("-")))
    return found


def _target(name: str, arguments: str) -> str | None:
    """Return what a call is about if it must not be, else None."""
    if name in {"connect", "sendto"}:
        return _elsewhere(arguments)
    if name.startswith("open") or name == "creat":
        if name != "creat" and not any(flag in arguments for flag in _WRITING):
            return None
        return _file(_PATH.findall(arguments)[:1])
    if name in {"write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate"}:
        return _descriptor(_FD.match(arguments))
    if name in {"sendfile", "copy_file_range", "splice"}:
        descriptors = list(_FD.finditer(arguments))
        return _descriptor(descriptors[0 if name == "sendfile" else -1]) if descriptors else None
    return _file(_PATH.findall(arguments))


def _file(paths: Sequence[str]) -> str | None:
    return next((path for path in paths if path and not path.startswith(_HARMLESS)), None)


def _descriptor(match: re.Match[str] | None) -> str | None:
    if match is None or match["fd"] in _STANDARD or match["what"].startswith((*_HARMLESS, *_NO_FILE)):
        return None
    return match["what"]


def _elsewhere(arguments: str) -> str | None:
    match = _ADDRESS.search(arguments)
    if match is None:
        return None
    address = ipaddress.ip_address(match[1] or match[2])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)
