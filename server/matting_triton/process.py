# SPDX-License-Identifier: Apache-2.0
"""A command that runs under the shepherd, seen from this side."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matting_triton import shepherd
from matting_triton.errors import TritonStartError
from matting_triton.logs import LogCallable, LogFollower, LogLineCallable

# How much longer than the command's own grace the shepherd may take.
_SHEPHERD_GRACE_S = 5.0


class ShepherdedProcess:
    """One run of a command, from its start to its complete end.

    Owns the shepherd's process, the control socket to it and the thread that reads the output. After `end` no process
    of the command's group and no shared-memory segment with its prefix is left. Nothing is restarted here.

    Args:
        command: Program and arguments.
        environment: All of its environment.
        shm_prefix: What the names of its shared-memory segments begin with.
        grace_s: Seconds between SIGTERM and SIGKILL.
        log: Gets each line of its output, on a thread.
        tell: Gets the notable lines, redacted, on that thread.
        on_end: Called on that thread when it has ended by whatever cause.

    Raises:
        TritonStartError: It could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        shm_prefix: str,
        grace_s: float,
        log: LogCallable | None,
        on_end: Callable[[], None],
        tell: LogLineCallable | None = None,
    ) -> None:
        self._grace_s = grace_s
        self._shm_prefix = shm_prefix
        self._on_end = on_end
        self._ended = threading.Event()
        self._control, theirs = socket.socketpair()
        script = [sys.executable, "-I", "-S", str(Path(shepherd.__file__))]
        fields = [str(theirs.fileno()), str(os.getpid()), f"{grace_s:g}", shm_prefix]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [*script, *fields, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    pass_fds=[theirs.fileno()],
                    env=dict(environment),
                    start_new_session=True,  # Ctrl-C in a terminal is for the program, which then ends this in order
                )
        except OSError as exc:
            self._control.close()
            raise TritonStartError(f"Triton's shepherd could not be started: {exc}.") from exc
        self._output = LogFollower(self._process.stdout or (), log, self._ended_by_itself, tell)
        self._output.start()
        with self._control.makefile("r") as reader:
            first = reader.readline()
        self.pid = int(first) if first else 0
        if not first:
            self.end()
            raise TritonStartError("Triton's process could not be started.", log_tail=self._output.tail)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    @property
    def output(self) -> LogFollower:
        return self._output

    def wait_ended(self, timeout_s: float | None) -> bool:
        """Wait until it has ended; return whether it has."""
        return self._ended.wait(timeout_s)

    def end(self) -> None:
        """End it: in order if it lets itself be, by force after `grace_s`. Returns when nothing of it is left."""
        self._control.close()
        try:
            self._process.wait(self._grace_s + _SHEPHERD_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode < 0:
            # The shepherd was killed: end the group and remove the segments in its place.
            if self.pid:
                shepherd.kill_group(self.pid)
            shepherd.remove_segments(self._shm_prefix)
        self._output.join(_SHEPHERD_GRACE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ended_by_itself(self) -> None:
        self._ended.set()
        self._on_end()
