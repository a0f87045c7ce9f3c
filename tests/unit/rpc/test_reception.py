# SPDX-License-Identifier: Apache-2.0
"""Nobody asks for memory before a message has begun to come, and nobody waits for that for ever."""

import asyncio
from typing import Any

import pytest
from matting_gateway.clock import SystemClock
from matting_gateway.errors import ResidencyExceededError
from matting_gateway.rpc.boundary.message_receiver import MessageReceiver
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry


def reception() -> MessageReceiver:
    return MessageReceiver(timeout_s=0.01, clock=SystemClock(), metrics=Metrics(CollectorRegistry()))


class Coming:
    """A call of which nothing comes until told to."""

    def __init__(self) -> None:
        self.begins = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self.begins.is_set()

    async def has_begun(self) -> None:
        await self.begins.wait()

    async def read(self, most_bytes: int | None = None) -> Any:
        raise NotImplementedError


async def test_a_message_that_has_begun_is_not_waited_for() -> None:
    coming = Coming()
    coming.begins.set()
    await reception().begun(coming)


async def test_a_message_that_does_not_begin_in_time_is_given_up() -> None:
    with pytest.raises(ResidencyExceededError, match="did not arrive"):
        await reception().begun(Coming())
