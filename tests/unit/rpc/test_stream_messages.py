# SPDX-License-Identifier: Apache-2.0
"""How long a stream may stay silent, before a message and in the middle of one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_h2.bodies.messages import MessageTooLongError
from matting_gateway.admission.gate import Gate
from matting_gateway.admission.permit import Permit
from matting_gateway.admission.settings import GateSettings
from matting_gateway.clock import SystemClock
from matting_gateway.errors import DrainingError, OptionInvalidError, OverloadedError
from matting_gateway.rpc.boundary.stream_messages import StreamMessages
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry


class Stream:
    """gRPC's side of a stream that says nothing until told to."""

    def __init__(self, *, begun: bool = False) -> None:
        self.begun = begun
        self.answer: Any = None
        self._tell: Callable[[], None] = lambda: None

    def when_begun(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def expect(self, most_bytes: int, tell: Callable[[], None]) -> None:
        self._tell = tell
        if self.answer is not None:
            tell()

    def begin(self) -> None:
        self.begun = True
        self._tell()

    def say(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self._tell()

    def message(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def gate_of(byte_count: int) -> Gate:
    settings = GateSettings(budget_bytes=byte_count)
    return Gate(settings, clock=SystemClock(), metrics=Metrics(CollectorRegistry()))


def soon() -> float:
    return SystemClock().now() + 30


def acquiring(gate: Gate, byte_count: int = 10) -> Callable[[], Awaitable[Permit]]:
    return lambda: gate.acquire(byte_count, deadline_s=soon())


def messages_of(
    stream: Stream,
    *,
    draining: asyncio.Event | None = None,
    idle_timeout_s: float = 30.0,
    busy: Callable[[], bool] = lambda: False,
) -> StreamMessages:
    draining = draining or asyncio.Event()
    return StreamMessages(stream, draining=draining, idle_timeout_s=idle_timeout_s, busy=busy)


@pytest.mark.parametrize("there", [True, False])
async def test_a_message_is_returned_with_the_permit_it_came_under(there: bool) -> None:
    stream = Stream()
    loop = asyncio.get_running_loop()
    if there:
        stream.begun, stream.answer = True, b"hello"
    else:
        loop.call_later(0.01, stream.begin)
        loop.call_later(0.03, stream.say, b"hello")
    gate = gate_of(100)
    async with messages_of(stream) as messages:
        came = await messages.next(acquiring(gate), most_bytes=10)
    assert came is not None
    permit, message = came
    assert (message, permit.byte_count) == (b"hello", 10)
    permit.release()
    assert gate.statistics().permit_count == 0


async def test_at_the_end_of_a_stream_there_is_no_message_and_nothing_is_held() -> None:
    stream, gate = Stream(begun=True), gate_of(100)
    stream.answer = grpc.aio.EOF
    async with messages_of(stream) as messages:
        assert await messages.next(acquiring(gate), most_bytes=10) is None
    assert gate.statistics().permit_count == 0


async def test_a_message_longer_than_promised_is_refused_and_nothing_is_held() -> None:
    stream, gate = Stream(begun=True), gate_of(100)
    stream.answer = MessageTooLongError()
    async with messages_of(stream) as messages:
        with pytest.raises(OptionInvalidError, match="larger than"):
            await messages.next(acquiring(gate), most_bytes=10)
    assert gate.statistics().permit_count == 0


async def test_a_stream_may_be_idle_for_a_time() -> None:
    async with messages_of(Stream(), idle_timeout_s=0.01) as messages:
        with pytest.raises(OverloadedError, match="was idle"):
            await messages.next(acquiring(gate_of(100)), most_bytes=10)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stream_whose_items_have_all_ended_is_idle_too(begun: bool) -> None:
    """One item must not buy silence for ever; and what was in work counts until it has ended."""
    loop = asyncio.get_running_loop()
    ended_s: list[float] = []
    messages = messages_of(Stream(begun=begun), idle_timeout_s=0.08, busy=lambda: not ended_s)

    def end() -> None:
        ended_s.append(loop.time())
        messages.item_ended()

    loop.call_later(0.1, end)
    async with messages:
        with pytest.raises(OverloadedError, match="was idle"):
            await messages.next(acquiring(gate_of(100)), most_bytes=10)
    assert loop.time() - ended_s[0] >= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("is_busy", [True, False])
async def test_a_stream_whose_message_stalls_is_closed_when_others_need_the_memory(is_busy: bool) -> None:
    gate, held = gate_of(100), asyncio.Event()

    async def acquire() -> Permit:
        held.set()
        return await gate.acquire(60, deadline_s=soon())

    async def hold() -> None:
        async with messages_of(Stream(begun=True), busy=lambda: is_busy) as messages:
            await messages.next(acquire, most_bytes=10)

    holding = asyncio.create_task(hold())
    await held.wait()
    (await gate.acquire(80, deadline_s=soon())).release()
    with pytest.raises(OverloadedError, match="others waited"):
        await holding


@pytest.mark.parametrize("begun", [True, False])
async def test_a_silent_stream_ends_when_the_gateway_does(begun: bool) -> None:
    draining = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, draining.set)
    async with messages_of(Stream(begun=begun), draining=draining, busy=lambda: True) as messages:
        with pytest.raises(DrainingError):
            await messages.next(acquiring(gate_of(100)), most_bytes=10)


async def test_nothing_is_left_of_a_stream_that_has_been_read() -> None:
    before = asyncio.all_tasks()
    async with messages_of(Stream()):
        assert len(asyncio.all_tasks()) == len(before) + 1
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
