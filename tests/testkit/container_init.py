# SPDX-License-Identifier: Apache-2.0
"""The first process of a container, begun by `unshare` as root: makes what a runtime makes, and becomes the program.

Called with a description in JSON: `root` (folder), `user` (number), `volumes` (folders of the host by their paths
inside), `environment`, `arguments`. The root is read-only but for /dev/shm; the program has no privileges and cannot
gain any.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_DEVICES = ("null", "zero", "random", "urandom")


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def make_files(root: Path, volumes: dict[str, str]) -> None:
    """Make a container's view of files: all is read-only but /dev/shm."""
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    for inside, outside in volumes.items():
        mount("--bind", "--options", "ro", outside, root / inside.lstrip("/"))
    mount("--options", "remount,bind,ro", root)
    mount("--types", "proc", "proc", root / "proc")
    mount("--types", "tmpfs", "--options", "mode=755", "dev", root / "dev")
    for device in _DEVICES:
        (root / "dev" / device).touch()
        mount("--bind", Path("/dev", device), root / "dev" / device)
    (root / "dev" / "shm").mkdir()
    mount("--types", "tmpfs", "--options", "mode=1777,size=1g", "shm", root / "dev" / "shm")
    mount("--options", "remount,ro", root / "dev")


def give_up_privileges(user: int) -> None:
    """Become that user, without a way back."""
    libc = ctypes.CDLL(None)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def main(description: str) -> None:
    """Do all of it."""
    container = json.loads(description)
    root = Path(container["root"])
    make_files(root, container["volumes"])
    os.chroot(root)
    os.chdir("/")
    give_up_privileges(container["user"])
    os.execvpe(container["arguments"][0], container["arguments"], container["environment"])  # noqa: S606 -- no shell is in it


if __name__ == "__main__":
    main(sys.argv[1])
