# SPDX-License-Identifier: Apache-2.0
"""The scan finds what is there, and says so when it may not look."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testkit.memory_scan import Canary, ScanRefusedError, hits_in, scan

HOLD = """
import sys
data = bytearray(sys.stdin.buffer.read({size}))
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
        (found,) = [f for f in scan(pid, canary()).found if f.mapping != "[stack]"][:1]
    assert 0.5 * len(SECRET) < found.about_bytes < 4 * len(SECRET)


def test_what_was_overwritten_is_not_found() -> None:
    """Python's own reading left copies; a process that overwrites all it had shows none but those."""
    with holder() as pid:
        before = scan(pid, canary()).hit_count
    with holder("data[:] = bytes(len(data))") as pid:
        assert scan(pid, canary()).hit_count < before


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
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open(f"/proc/{sys.argv[1]}/mem", "rb", buffering=0).read(1)
except PermissionError:
    print("refused")
"""
    with holder() as pid:
        answer = subprocess.run([sys.executable, "-c", code, str(pid)], capture_output=True, text=True, timeout=30)
    assert answer.stdout.strip() == "refused"
    assert issubclass(ScanRefusedError, PermissionError)
