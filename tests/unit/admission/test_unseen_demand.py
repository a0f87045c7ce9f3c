# SPDX-License-Identifier: Apache-2.0
"""Who waits for memory is demand that nobody has seen into yet, until it is let in."""

import asyncio

import pytest
from matting_gateway.admission.gate import Gate
from matting_gateway.admission.settings import GateSettings
from matting_gateway.clock import SystemClock
from matting_gateway.errors import DeadlineExpiredError, OverloadedError
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry


def soon() -> float:
    return SystemClock().now() + 30


class Counted:
    """A gate of 100 bytes, and what it says of those who wait."""

    def __init__(self, **settings: int) -> None:
        self.told: list[int] = []
        self.gate = Gate(
            GateSettings(budget_bytes=100, **settings),
            clock=SystemClock(),
            metrics=Metrics(CollectorRegistry()),
            unseen=self.told.append,
        )


async def test_who_is_let_in_at_once_is_none_of_it() -> None:
    counted = Counted()
    with await counted.gate.acquire(60, deadline_s=soon()):
        assert counted.told == []


async def test_who_waits_is_demand_until_it_is_let_in() -> None:
    counted = Counted()
    held = await counted.gate.acquire(60, deadline_s=soon())
    waiter = asyncio.create_task(counted.gate.acquire(60, deadline_s=soon()))
    await asyncio.sleep(0)
    assert counted.told == [1]
    held.release()
    (await waiter).release()
    assert counted.told == [1, -1]


async def test_who_waits_in_vain_stays_demand() -> None:
    counted = Counted()
    with await counted.gate.acquire(60, deadline_s=soon()):
        with pytest.raises(DeadlineExpiredError):
            await counted.gate.acquire(60, deadline_s=SystemClock().now() + 0.01)
        leaving = asyncio.create_task(counted.gate.acquire(60, deadline_s=soon()))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert counted.told == [1, 1]


async def test_who_is_refused_is_demand() -> None:
    counted = Counted(max_waiting_count=0)
    with await counted.gate.acquire(60, deadline_s=soon()) as permit:
        with pytest.raises(OverloadedError):
            await counted.gate.acquire(60, deadline_s=soon())
        with await counted.gate.acquire(40, deadline_s=soon()), pytest.raises(OverloadedError):
            await permit.settle(80, deadline_s=soon())
    assert counted.told == [1, 1]
