# SPDX-License-Identifier: Apache-2.0
"""Each fact is read back in a process of its own: what is given up cannot be had again."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # a process for each

HARDEN = """
import dataclasses, json, os, sys
from matting_gateway.privacy.hardening import apply, reexec_if_needed
from matting_gateway.privacy.settings import HardeningSettings
settings = HardeningSettings(**json.loads(sys.argv[1]))
reexec_if_needed(settings, os.environ)
print(json.dumps(dataclasses.asdict(apply(settings))))
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def harden(then: str = "", **settings: bool) -> tuple[dict[str, Any], str]:
    first, _, rest = run(HARDEN + then, json.dumps(settings)).partition("\n")
    return json.loads(first), rest.strip()


@pytest.fixture(scope="module")
def hardened() -> dict[str, Any]:
    return harden()[0]


def test_what_needs_no_privilege_is_always_achieved(hardened: dict[str, Any]) -> None:
    needed = {"core_dumps_off", "dumpable_off", "umask_safe", "no_new_privileges", "freed_memory_scrubbed"}
    assert {name for name in needed if hardened[name]} == needed


def test_what_is_not_achieved_has_a_reason(hardened: dict[str, Any]) -> None:
    """Without the right to more, which root loses here, no more may be locked than the limit says."""
    without_right = [] if os.geteuid() else ["setpriv", "--bounding-set=-ipc_lock"]
    command = [*without_right, "prlimit", "--memlock=0:0", sys.executable, "-c", HARDEN, "{}"]
    told = json.loads(subprocess.check_output(command, timeout=30))
    assert {name for name in hardened if hardened[name] and not told[name]} <= {"memory_locked", "swap_off"}
    assert not told["memory_locked"]
    assert [problem.partition(":")[0] for problem in told["problems"]] == ["memory is not locked"]


def test_the_system_says_the_same() -> None:
    report = "import pathlib; print(pathlib.Path('/proc/self/status').read_text()); print(os.umask(0o77))"
    hardening, status = harden(report)
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert (int(fields["VmLck"].split()[0]) > 0) == hardening["memory_locked"]
    assert status.splitlines()[-1] == str(0o77)


def test_a_child_may_dump_no_memory() -> None:
    show = "import subprocess; subprocess.run(['sh', '-c', 'ulimit -c; cat /proc/self/coredump_filter'])"
    assert harden("sys.stdout.flush();" + show)[1].split() == ["0", "00000000"]


def test_a_crash_leaves_no_core_file(tmp_path: Path) -> None:
    code = (
        HARDEN + f"import signal; sys.stdout.flush(); os.chdir({str(tmp_path)!r}); os.kill(os.getpid(), signal.SIGSEGV)"
    )
    result = subprocess.run([sys.executable, "-c", code, "{}"], capture_output=True, timeout=30)
    assert result.returncode < 0
    assert list(tmp_path.iterdir()) == []


_FREED_ARRAYS = """
import asyncio, ctypes
import numpy as np
def left(byte_count):
    array, guard = np.full(byte_count, 0x11, np.uint8), np.zeros(byte_count, np.uint8)
    middle = (ctypes.c_ubyte * 16).from_address(array.ctypes.data + byte_count // 2)
    del array
    return bytes(middle).count(0x11)
async def later():
    print([left(count) for count in (64, 512, 1000, 5000)], await asyncio.to_thread(left, 512))
asyncio.run(later())
"""


def test_what_an_array_held_is_overwritten_however_small_it_was() -> None:
    assert harden(_FREED_ARRAYS)[1] == "[0, 0, 0, 0] 0"


def test_freed_memory_is_not_scrubbed_unless_asked_for() -> None:
    assert not harden(scrub_memory=False)[0]["freed_memory_scrubbed"]


def test_starting_over_happens_once_and_keeps_the_arguments() -> None:
    count = "import matting_gateway.privacy.hardening as h\n"
    code = (
        count + "import os, sys; print(sys.argv[1:], flush=True); h.reexec_if_needed(h.HardeningSettings(), os.environ)"
    )
    assert run(code, "a", "b c").splitlines() == ["['a', 'b c']"] * 2


def test_no_file_can_be_written_but_shared_memory(tmp_path: Path) -> None:
    """Not by the process, and not by a child of it."""
    existing = tmp_path / "existing"
    existing.write_text("old")
    attempts = f"""
import pathlib, subprocess
def attempt(what):
    try:
        what()
    except OSError as exc:
        print(type(exc).__name__)
    else:
        print("done")
folder = pathlib.Path({str(tmp_path)!r})
attempt(lambda: (folder / "new").write_text("x"))
attempt(lambda: (folder / "existing").open("a"))
attempt(lambda: os.truncate(folder / "existing", 0))
attempt(lambda: (folder / "existing").rename(folder / "moved"))
attempt(lambda: (folder / "existing").unlink())
attempt(lambda: (pathlib.Path.home() / "matting-test").mkdir())
attempt(lambda: os.symlink("x", folder / "link"))
print(subprocess.run(["sh", "-c", f"echo x > {{folder}}/child"], stderr=subprocess.DEVNULL).returncode != 0)
memory = pathlib.Path(f"/dev/shm/matting-test-{{os.getpid()}}")
attempt(lambda: (memory.write_text("x"), memory.unlink()))
print((folder / "existing").read_text())
"""
    hardening, output = harden(attempts)
    if not hardening["files_confined"]:
        pytest.skip("this kernel does not offer Landlock")
    assert output.split() == ["PermissionError"] * 7 + ["True", "done", "old"]


def test_the_devices_of_a_gpu_can_be_commanded(tmp_path: Path) -> None:
    """With the null device under their name; a file of that name is not taken for one."""
    device = tmp_path / "nvidiactl"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        device.open("w").close()
    except PermissionError:
        pytest.skip("only root can make devices, and not on every file system")
    (tmp_path / "nvidia0").write_text("a file")
    code = f"""
import pathlib
from matting_gateway.privacy import confinement
folder = pathlib.Path({str(tmp_path)!r})
found = confinement.gpu_devices(folder)
confinement.gpu_devices = lambda: found
try:
    confinement.confine()
except confinement.ConfinementError:
    print("no landlock")
    raise SystemExit
(folder / "nvidiactl").open("w").close()
try:
    (folder / "nvidia0").open("w")
except PermissionError:
    print("refused")
"""
    if (answer := run(code).strip()) == "no landlock":
        pytest.skip("this kernel does not offer Landlock")
    assert answer == "refused"


def test_only_the_named_ports_can_be_connected_to() -> None:
    code = """
import os, socket
from matting_gateway.privacy.confinement import ConfinementError, confine, confined
first, second = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
try:
    confine(connect_ports=[first.getsockname()[1]])
except ConfinementError:
    print("no landlock")
    raise SystemExit
socket.create_connection(first.getsockname()).close()
try:
    socket.create_connection(second.getsockname())
except PermissionError:
    print("refused")
"""
    if (answer := run(code).strip()) == "no landlock":
        pytest.skip("this kernel does not offer Landlock")
    assert answer == "refused"


def test_a_socket_can_be_made_where_it_is_listened_on(tmp_path: Path) -> None:
    code = f"""
import pathlib, socket
from matting_gateway.privacy.confinement import ConfinementError, confine
folder = pathlib.Path({str(tmp_path)!r})
try:
    confine(socket_folders=[folder])
except ConfinementError:
    pass
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(str(folder / "door"))
(folder / "door").unlink()
"""
    run(code)


LOOK = """
import ctypes, encodings.ascii, os, sys  # all that is needed, while the interpreter's own folder can still be read
from matting_gateway.privacy.hardening import HardeningSettings, apply
os.setgroups([]); os.setgid(65534); os.setuid(65534)
(ready, told), (end, ended) = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a program is that never changed its user
    if sys.argv[1] == "hardened":
        apply(HardeningSettings(lock_memory=False))
    os.write(told, b"x")
    os.read(end, 1)
    os._exit(0)
os.close(told)
os.read(ready, 1)
try:
    open(f"/proc/{pid}/mem", "rb", buffering=0).close()
    print("read")
except PermissionError:
    print("refused")
os.write(ended, b"x")
os.waitpid(pid, 0)
"""


@pytest.mark.parametrize(("state", "answer"), [("hardened", "refused"), ("as it comes", "read")])
def test_another_process_of_the_same_user_cannot_read_the_memory(state: str, answer: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user, who may be refused")
    assert run(LOOK, state).strip() == answer
