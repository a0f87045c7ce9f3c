# SPDX-License-Identifier: Apache-2.0
"""An imaging worker as seen from the gateway: a process that is started, handed one call's file at a time, and killed.

Why processes and not threads: a thread that hangs or crashes in a codec cannot be ended, or ends the gateway. A process
costs one photo, and has no files, no network and bounded memory while it reads bytes from outside.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from matting_gateway.imaging.photo_job import ANSWER_BYTES

# None: the process has ended.
Told = Callable[["WorkerHandle", bytes | None], None]


class WorkerHandle:
    """One process and the socket to it. For one event loop, which nothing here blocks.

    Owns both until the process has ended and is collected, which `told` is told last, exactly once; what the
    process says before that it is told as it comes.

    Raises:
        OSError: It cannot be started.
    """

    __slots__ = ("_child", "_loop", "_socket", "_told", "pid")

    def __init__(self, told: Told) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "matting_gateway.imaging.worker.main", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._told = told
        self._loop = asyncio.get_running_loop()
        self.pid = self._child.pid
        self._loop.add_reader(ours, self._readable)

    def __repr__(self) -> str:
        return f"<WorkerHandle {self.pid}>"

    def send(self, request: bytes, descriptor: int) -> None:
        """Hand over a call's file.

        Raises:
            OSError: The process has ended, or the system has no memory for the message.
        """
        socket.send_fds(self._socket, [request], [descriptor])

    def kill(self) -> None:
        """End the process; `told` is told when it has ended."""
        self._child.kill()

    @property
    def was_killed(self) -> bool:
        """Whether the process has ended because somebody killed it (SIGKILL), and not by itself."""
        return self._child.returncode == -signal.SIGKILL

    def _readable(self) -> None:
        try:
            message = self._socket.recv(ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message:
            self._told(self, message)
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        # It may have closed its end and go on.
        self._child.kill()
        if self._child.poll() is not None:
            self._told(self, None)
            return
        ending = os.pidfd_open(self.pid)
        self._loop.add_reader(ending, self._collect, ending)

    def _collect(self, ending: int) -> None:
        self._loop.remove_reader(ending)
        os.close(ending)
        self._child.wait()
        self._told(self, None)
