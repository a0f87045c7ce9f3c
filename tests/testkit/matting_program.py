# SPDX-License-Identifier: Apache-2.0
"""The program `matting` as a person runs it: a process of its own, in a folder, on pipes or on a terminal."""

import errno
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("matting"))

# What a shell does for a program in the foreground, so that keys reach it as signals.
_IN_FOREGROUND = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def environment(server: str = "") -> dict[str, str]:
    """Return the environment of a person who set nothing but the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MATTING_", "GRPC_"))}
    return kept | ({"MATTING_SERVER": server} if server else {})


def run(*words: str, server: str = "", folder: Path, sent: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run it to its end on pipes; `sent` comes on its standard input."""
    return subprocess.run([PROGRAM, *words], input=sent, capture_output=True, env=environment(server), cwd=folder)


def start(*words: str, server: str = "", folder: Path) -> subprocess.Popen[bytes]:
    """Start it, with standard input open and empty."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [PROGRAM, *words], stdin=pipe, stdout=pipe, stderr=pipe, env=environment(server), cwd=folder
    )


class Terminal:
    """A terminal that the program runs on, in the foreground, as a person sees it and types."""

    def __init__(self, *words: str, server: str = "", folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_FOREGROUND, PROGRAM, *words],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment(server), cwd=folder,
        )  # fmt: skip
        os.close(theirs)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> tuple[int, str]:
        """Wait until it has ended; return its exit code and all that is seen."""
        seen = b""
        try:
            while part := os.read(self._ours, 65536):
                seen += part
        except OSError as error:  # how a terminal tells that nobody has it open any more
            if error.errno != errno.EIO:
                raise
        finally:
            os.close(self._ours)
        return self._process.wait(), seen.decode().replace("\r\n", "\n")


def run_on_terminal(*words: str, server: str = "", folder: Path) -> tuple[int, str]:
    """Run it to its end on a terminal; return its exit code and all that is seen there."""
    return Terminal(*words, server=server, folder=folder).end()
