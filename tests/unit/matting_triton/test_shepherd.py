# SPDX-License-Identifier: Apache-2.0
"""The shepherd lets nothing outlive anybody; shown with small commands instead of Triton."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from matting_triton import shepherd
from matting_triton.errors import TritonStartError
from matting_triton.process import ShepherdedProcess
from testkit.local_triton import segments

_PATIENCE_S = 10.0
# Starts a child that ignores SIGTERM as it does itself, and says when it is there.
_STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=False)
print(child.pid, flush=True)
child.wait()
"""


def _prefix() -> str:
    return f"shepherd_test_{os.getpid()}_"


class _Output:
    """Takes lines on the follower's thread, and waits for the first."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._reader, self._writer = os.pipe()

    def take(self, line: str) -> None:
        self.lines.append(line)
        os.write(self._writer, b".")

    def first(self) -> str:
        os.read(self._reader, 1)
        return self.lines[0]


def _run(*command: str, grace_s: float = 0.2, output: _Output | None = None) -> ShepherdedProcess:
    return ShepherdedProcess(
        command,
        environment={"PATH": os.environ["PATH"]},
        shm_prefix=_prefix(),
        grace_s=grace_s,
        log=output.take if output else None,
        on_end=lambda: None,
    )


def test_a_command_that_ends_by_itself_is_noticed() -> None:
    process = _run("echo", "hello")
    assert process.wait_ended(_PATIENCE_S)
    process.end()
    assert process.output.tail == ("hello",)


@pytest.mark.slow
def test_a_command_and_child_that_ignore_sigterm_are_killed() -> None:
    output = _Output()
    process = _run(sys.executable, "-c", _STUBBORN, output=output)
    family = [psutil.Process(process.pid), psutil.Process(int(output.first()))]
    process.end()
    assert psutil.wait_procs(family, timeout=_PATIENCE_S)[1] == []


def test_a_child_that_outlives_its_killed_parent_is_killed_too() -> None:
    output = _Output()
    process = _run(sys.executable, "-c", _STUBBORN, output=output)
    child = psutil.Process(int(output.first()))
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait_ended(_PATIENCE_S)
    assert psutil.wait_procs([child], timeout=_PATIENCE_S)[1] == []
    process.end()


def test_segments_with_its_prefix_are_removed_and_no_others() -> None:
    mine, foreign = Path("/dev/shm", _prefix() + "mine"), Path("/dev/shm", f"foreign_{_prefix()}")
    process = _run("sleep", "600")
    try:
        mine.touch()
        foreign.touch()
        process.end()
        assert not mine.exists()
        assert foreign.exists()
    finally:
        foreign.unlink()


def test_orphans_of_dead_owners_are_removed() -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    prefix = f"orphan_test_{os.getpid()}_"
    for owner in (dead.pid, os.getpid()):
        Path("/dev/shm", f"{prefix}{owner}_pool").touch()
    try:
        assert shepherd.remove_orphans(prefix) == 1
        assert segments(prefix) == [f"{prefix}{os.getpid()}_pool"]
    finally:
        shepherd.remove_segments(prefix)


def test_a_command_that_is_not_there_is_an_error_with_the_reason() -> None:
    with pytest.raises(TritonStartError, match="No such file or directory"):
        _run("/no/such/command")
