# SPDX-License-Identifier: Apache-2.0
"""Breaks promises on purpose, to show that the proofs notice: on SIGUSR1 a file is written and a stranger called."""

import contextlib
import os
import signal
import socket
from pathlib import Path


def _misbehave(_number: int, _frame: object) -> None:
    with contextlib.suppress(PermissionError):
        Path(os.environ["PLANTED_FOLDER"], "planted").write_text("a photo, say")
    with socket.socket() as stranger:
        stranger.setblocking(False)
        stranger.connect_ex(("192.0.2.1", 443))


signal.signal(signal.SIGUSR1, _misbehave)
