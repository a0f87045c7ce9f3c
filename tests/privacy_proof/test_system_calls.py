# SPDX-License-Identifier: Apache-2.0
"""What is taken for a write or a connection among what strace prints."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privacy_proof.system_calls import Violation, command, violations, violations_in

V4 = '{{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("{}")}}'
V6 = '{{sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, "{}", &sin6_addr), sin6_scope_id=0}}'
PLANTED = Path(__file__).parent / "planted"


@pytest.mark.parametrize(
    ("call", "target"),
    [
        ('openat(AT_FDCWD, "/tmp/x", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</tmp/x>', "/tmp/x"),
        ('openat(AT_FDCWD, "x.bin", O_RDWR|O_CLOEXEC) = 3</srv/x.bin>', "x.bin"),
        ('openat(AT_FDCWD, "/tmp", O_RDWR|O_TMPFILE, 0600) = 3', "/tmp"),
        ('openat(AT_FDCWD, "/tmp/x", O_WRONLY|O_CREAT, 0666) = -1 EACCES (Permission denied)', "/tmp/x"),
        ('creat("/tmp/x", 0666) = 3', "/tmp/x"),
        ('write(7</var/log/x>, "abc", 3) = 3', "/var/log/x"),
        ('pwrite64(7</srv/x>, "abc", 3, 0) = 3', "/srv/x"),
        ('writev(7</srv/x>, [{iov_base="a", iov_len=1}], 1) = 1', "/srv/x"),
        ("ftruncate(7</srv/x>, 0) = 0", "/srv/x"),
        ("copy_file_range(3</dev/shm/a>, NULL, 4</srv/x>, NULL, 10, 0) = 10", "/srv/x"),
        ("sendfile(4</srv/x>, 3</dev/shm/a>, NULL, 10) = 10", "/srv/x"),
        ('mkdir("/tmp/d", 0700) = 0', "/tmp/d"),
        ('rename("/dev/shm/a", "/srv/x") = 0', "/srv/x"),
        ('linkat(AT_FDCWD, "/dev/shm/a", AT_FDCWD, "/srv/x", 0) = 0', "/srv/x"),
        ('symlink("/dev/shm/a", "/srv/x") = 0', "/srv/x"),
        (f"connect(9<TCP:[1]>, {V4.format('192.0.2.1')}, 16) = 0", "192.0.2.1"),
        (f"connect(9<UDPv6:[1]>, {V6.format('2001:db8::1')}, 28) = -1 ENETUNREACH (unreachable)", "2001:db8::1"),
        (f"connect(9<TCPv6:[1]>, {V6.format('::ffff:192.0.2.1')}, 28) = 0", "192.0.2.1"),
        (f'sendto(9<UDP:[1]>, "q", 1, 0, {V4.format("192.0.2.53")}, 16) = 1', "192.0.2.53"),
    ],
)
def test_writes_and_strangers_are_seen(call: str, target: str) -> None:
    (violation,) = violations_in([f"1700000000.123456 {call}"])
    assert (violation.target, violation.denied) == (target, "= -1" in call)


@pytest.mark.parametrize(
    "call",
    [
        'openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3</etc/hosts>',
        'openat(AT_FDCWD, "/dev/shm/matting_1", O_RDWR|O_CREAT|O_EXCL, 0600) = 3',
        'openat(AT_FDCWD, "/dev/null", O_WRONLY) = 3',
        'write(1</var/log/gateway.log>, "{}", 2) = 2',
        'write(2</dev/pts/0>, "x", 1) = 1',
        'write(8<anon_inode:[eventfd]>, "1", 8) = 8',
        'writev(8<socket:[12]>, [{iov_base="a", iov_len=1}], 1) = 1',
        'write(8<TCP:[127.0.0.1:1->127.0.0.1:2]>, "1", 1) = 1',
        'write(8<pipe:[12]>, "1", 1) = 1',
        "ftruncate(8</memfd:photo (deleted)>, 100) = 0",
        "ftruncate(8</dev/shm/x>, 100) = 0",
        'connect(9<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        'connect(9<UNIX-STREAM:[1]>, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0',
        "+++ exited with 0 +++",
        "--- SIGTERM {si_signo=SIGTERM} ---",
    ],
)
def test_memory_pipes_and_loopback_are_none(call: str) -> None:
    assert violations_in([f"1700000000.123456 {call}"]) == []


def test_violations_before_the_time_asked_for_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "calls.1").write_text('10.5 mkdir("/tmp/a", 0700) = 0\n20.5 mkdir("/tmp/b", 0700) = 0\n')
    assert violations(tmp_path, since_s=15) == [Violation(20.5, "mkdir", "/tmp/b", denied=False)]


def test_a_planted_write_and_a_planted_connection_are_found(tmp_path: Path) -> None:
    """Not in the parent only: what a child of it does is seen too."""
    assert shutil.which("strace"), "strace is needed (apt-get install strace)"
    program = "import os, signal; print(flush=True); os.kill(os.getpid(), signal.SIGUSR1)"
    subprocess.run(
        [*command(tmp_path), "sh", "-c", f"'{sys.executable}' -c '{program}'"],
        env={**os.environ, "PYTHONPATH": str(PLANTED), "PLANTED_FOLDER": str(tmp_path)},
        check=True,
        timeout=60,
    )
    found = {(v.call, Path(v.target).name.partition("-")[0]) for v in violations(tmp_path, since_s=0)}
    assert {("openat", "planted"), ("write", "planted"), ("connect", "192.0.2.1")} <= found
    assert signal.SIGUSR1  # the planted module waits for it
