# SPDX-License-Identifier: Apache-2.0
"""The scan finds what is there, and says so when it may not look."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testkit.memory_scan import Canary, hits_in, scan

# Read in place, so that there is one copy of the secret and no more.
HOLD = """
import os, sys
data = memoryview(bytearray({size}))
filled = 0
while filled < len(data):
    filled += os.readv(0, [data[filled:]])
{then}
print("ready", flush=True)
sys.stdin.read()
"""
SECRET = random.Random(7).randbytes(256 << 10)


@contextmanager
def holder(then: str = "", *, user: int | None = None) -> Iterator[int]:
    """Run a process that holds the secret, and does something with it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.format(size=len(SECRET), then=then)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=user,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(SECRET)
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def canary() -> Canary:
    made = Canary()
    assert made.add("secret", SECRET)
    return made


def test_what_a_process_holds_is_found_about_as_much_as_there_is() -> None:
    with holder() as pid:
        assert scan(pid, canary()).about_bytes == pytest.approx(len(SECRET), rel=0.2)
    with holder("copies = [bytes(data) for _ in range(3)]") as pid:
        assert scan(pid, canary()).about_bytes == pytest.approx(4 * len(SECRET), rel=0.2)


def test_what_was_overwritten_is_not_found() -> None:
    with holder("data[:] = bytes(len(data))") as pid:
        assert scan(pid, canary()).found == ()


def test_a_piece_of_it_is_enough() -> None:
    assert hits_in(bytes(1000) + SECRET[5000:9096] + bytes(1000), canary()) > 3


def test_other_noise_is_not_it() -> None:
    assert hits_in(random.Random(8).randbytes(1 << 20), canary()) == 0


def test_plain_content_cannot_be_known_again() -> None:
    assert not Canary().add("black", bytes(10_000))


def test_what_is_ignored_is_not_found() -> None:
    made = canary()
    made.ignore(SECRET)
    assert hits_in(SECRET, made) == 0


def test_who_may_not_look_is_told_so() -> None:
    """A process without the right to trace fails clearly instead of finding nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else, to be refused")
    code = """
import os, sys
from testkit.memory_scan import Canary, ScanRefusedError, scan
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    scan(int(sys.argv[1]), Canary())
except ScanRefusedError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with holder() as pid:
        answer = subprocess.check_output([sys.executable, "-c", code, str(pid)], env=environment, text=True, timeout=30)
    assert answer == f"The memory of process {pid} cannot be read: run this as root or with CAP_SYS_PTRACE.\n"
