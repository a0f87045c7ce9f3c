# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C reaches a sending process more than once, and at any time."""

import subprocess
import sys

import pytest

# A process of its own: a signal that it does not hear in time must not reach what runs the tests.
_INTERRUPTED = """
import asyncio, os, signal
from matting_load.sending.workers import stop_at_interrupts
async def send():
    stopped = asyncio.Event()
    stop_at_interrupts(stopped.set)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(stopped.wait(), 10)
    print("stopped")
asyncio.run(send())
for _ in range(2):
    os.kill(os.getpid(), signal.SIGINT)
print("ended")
"""


@pytest.mark.slow
def test_an_interrupt_stops_sending_and_those_after_the_end_do_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "stopped\nended\n", "")
