# SPDX-License-Identifier: Apache-2.0
"""A world in which nobody can write anything but shared memory, for a user who is nobody.

Needs root (CAP_SYS_ADMIN) for the mount namespace; what runs inside has neither.
"""

import os
import re
from pathlib import Path

NOBODY = 65534
_TREE = Path(__file__).resolve().parents[2]
_SHARED_TMP = "mount --bind /dev/shm /tmp"
# Where this project itself lies in /tmp, it must still be seen there: memory of its own, with the project in it.
_OWN_TMP = f"""
mount --bind '{_TREE}' /srv
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p '{_TREE}'
mount --bind /srv '{_TREE}'
"""
# Every mount of the namespace becomes read-only, but for shared memory and the kernel's own tables.
_SCRIPT = r"""
set -eu
{prepare}
awk '{{print $5}}' /proc/self/mountinfo | sort -u | while read -r point; do
  case "$point" in {writable}|/proc|/proc/*) ;; *) mount -o remount,bind,ro "$point" ;; esac
done
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs \
  --inh-caps=-all{keep} --ambient-caps=-all{keep} --bounding-set=-all{keep} "$@"
"""
_MOUNT = re.compile(r"\d+ \d+ \S+ \S+ (?P<point>\S+) (?P<options>\S+) .*- (?P<kind>\S+) ")


def command(*, temporary_folder: bool) -> list[str]:
    """Return the beginning of a command that runs the rest of it in that world.

    Args:
        temporary_folder: Whether /tmp leads to /dev/shm (or other memory, where this project lies in /tmp), as the
            local Triton needs; else it is read-only too.
    """
    temporary = _OWN_TMP if _TREE.is_relative_to("/tmp") else _SHARED_TMP
    script = _SCRIPT.format(
        prepare=temporary if temporary_folder else "",
        writable="/dev/shm|/tmp" if temporary_folder else "/dev/shm",
        user=NOBODY,
        # Where this project or its Python lies in somebody's private folder, nobody could not even read it.
        keep="" if _readable_by_all() else ",+dac_read_search",
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def writable_mounts(pid: int) -> set[str]:
    """Return the kinds of the mounts that a process could write to."""
    lines = (Path("/proc") / str(pid) / "mountinfo").read_text().splitlines()
    # Of several mounts on one point the last is the one that is seen.
    seen = {match["point"]: match for line in lines if (match := _MOUNT.match(line))}
    return {match["kind"] for match in seen.values() if "rw" in match["options"].split(",")}


def _readable_by_all() -> bool:
    starts = (Path(__file__).resolve(), Path(os.path.realpath("/proc/self/exe")))
    return all(folder.stat().st_mode & 0o001 for start in starts for folder in start.parents)
