# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C reaches a sending process more than once, and at any time."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from matting_load.sending.workers import stop_at_interrupts


@pytest.fixture(autouse=True)
def handler_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_stops_sending_and_those_after_the_end_do_nothing() -> None:
    async def send() -> None:
        stopped = asyncio.Event()
        stop_at_interrupts(stopped.set)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(stopped.wait(), 10)

    asyncio.run(send())
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
