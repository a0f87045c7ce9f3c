# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends a test early, and what was seen until then is reported; a second one gives up."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first SIGINT of the running event loop, which has to be that of the main thread."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop()

    loop.add_signal_handler(signal.SIGINT, first)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def interrupt_children() -> None:
    """Pass SIGINT on to the sending processes. From a terminal they have it already, and take one for the other."""
    for child in multiprocessing.active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGINT)
