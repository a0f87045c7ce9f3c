# SPDX-License-Identifier: Apache-2.0
"""How long a stream may stay silent."""

import asyncio

import pytest
from matting_gateway.admission.gate import Gate, GateSettings
from matting_gateway.clock import SystemClock
from matting_gateway.errors import DrainingError, OverloadedError
from matting_gateway.rpc.reception import StreamReception
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry


class Stream:
    """gRPC's side of a stream that says nothing until told to."""

    def __init__(self) -> None:
        self.message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def read(self, most_bytes: int | None = None) -> bytes:
        return await asyncio.shield(self.message)


def gate_of(byte_count: int) -> Gate:
    settings = GateSettings(budget_bytes=byte_count)
    return Gate(settings, clock=SystemClock(), metrics=Metrics(CollectorRegistry()))


def soon() -> float:
    return SystemClock().now() + 30


async def test_a_message_is_returned() -> None:
    stream, reception = Stream(), StreamReception(draining=asyncio.Event(), idle_timeout_s=30)
    with await gate_of(100).acquire(10, deadline_s=soon()) as permit:
        stream.message.set_result(b"hello")
        assert await reception.read(stream, permit, most_bytes=10, in_work=()) == b"hello"


async def test_a_stream_whose_items_have_all_ended_is_idle_too() -> None:
    """One item must not buy silence for ever."""
    stream, reception = Stream(), StreamReception(draining=asyncio.Event(), idle_timeout_s=0.05)
    in_work: set[asyncio.Future[None]] = set()
    item: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    item.add_done_callback(in_work.discard)
    in_work.add(item)
    asyncio.get_running_loop().call_later(0.1, item.set_result, None)
    with await gate_of(100).acquire(10, deadline_s=soon()) as permit:
        with pytest.raises(OverloadedError, match="was idle"):
            await reception.read(stream, permit, most_bytes=10, in_work=in_work)
        assert item.done()


async def test_a_silent_stream_is_closed_when_others_need_the_memory() -> None:
    stream, reception = Stream(), StreamReception(draining=asyncio.Event(), idle_timeout_s=30)
    gate = gate_of(100)

    async def hold() -> None:
        with await gate.acquire(60, deadline_s=soon()) as permit:
            await reception.read(stream, permit, most_bytes=10, in_work=(), may_idle=("a sequence",))

    holding = asyncio.create_task(hold())
    while not gate.statistics().permit_count:  # noqa: ASYNC110 - gives way until the task has come so far
        await asyncio.sleep(0)
    (await gate.acquire(80, deadline_s=soon())).release()
    with pytest.raises(OverloadedError, match="others waited"):
        await holding


async def test_a_silent_stream_ends_when_the_gateway_does() -> None:
    draining = asyncio.Event()
    stream, reception = Stream(), StreamReception(draining=draining, idle_timeout_s=30)
    asyncio.get_running_loop().call_soon(draining.set)
    with await gate_of(100).acquire(10, deadline_s=soon()) as permit, pytest.raises(DrainingError):
        await reception.read(stream, permit, most_bytes=10, in_work=())
