# SPDX-License-Identifier: Apache-2.0
"""How long a stream may stay silent, before a message and in the middle of one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from grpc_h2.bodies.messages import MessageTooLongError
from matting_gateway.admission.gate import Gate, GateSettings
from matting_gateway.clock import SystemClock
from matting_gateway.errors import DrainingError, OptionInvalidError, OverloadedError
from matting_gateway.rpc.boundary.stream_messages import StreamMessages
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry


class Stream:
    """gRPC's side of a stream that says nothing until told to."""

    def __init__(self) -> None:
        self.begun = False
        self.answer: bytes | Exception = b""
        self._tell: Callable[[], None] = lambda: None

    def when_begun(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def expect(self, most_bytes: int, tell: Callable[[], None]) -> None:
        self._tell = tell
        if self.answer:
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
async def test_a_message_is_returned(there: bool) -> None:
    stream = Stream()
    loop = asyncio.get_running_loop()
    if there:
        stream.begun, stream.answer = True, b"hello"
    else:
        loop.call_later(0.01, stream.begin)
        loop.call_later(0.03, stream.say, b"hello")
    with await gate_of(100).acquire(10, deadline_s=soon()) as permit:
        async with messages_of(stream) as messages:
            await messages.next_begun()
            assert await messages.read(permit, most_bytes=10) == b"hello"


async def test_a_message_longer_than_promised_is_refused() -> None:
    stream = Stream()
    stream.answer = MessageTooLongError()
    with await gate_of(100).acquire(10, deadline_s=soon()) as permit:
        async with messages_of(stream) as messages:
            with pytest.raises(OptionInvalidError, match="larger than"):
                await messages.read(permit, most_bytes=10)


async def test_a_stream_may_be_idle_for_a_time() -> None:
    async with messages_of(Stream(), idle_timeout_s=0.01) as messages:
        with pytest.raises(OverloadedError, match="was idle"):
            await messages.next_begun()


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stream_whose_items_have_all_ended_is_idle_too(begun: bool) -> None:
    """One item must not buy silence for ever; and what was in work counts until it has ended."""
    loop = asyncio.get_running_loop()
    ended_s: list[float] = []
    messages = messages_of(Stream(), idle_timeout_s=0.08, busy=lambda: not ended_s)

    def end() -> None:
        ended_s.append(loop.time())
        messages.item_ended()

    loop.call_later(0.1, end)
    with await gate_of(100).acquire(10, deadline_s=soon()) as permit:
        async with messages:
            with pytest.raises(OverloadedError, match="was idle"):
                await (messages.read(permit, most_bytes=10) if begun else messages.next_begun())
    assert loop.time() - ended_s[0] >= 0.08


@pytest.mark.parametrize("is_busy", [True, False])
async def test_a_stream_whose_message_stalls_is_closed_when_others_need_the_memory(is_busy: bool) -> None:
    gate = gate_of(100)

    async def hold() -> None:
        with await gate.acquire(60, deadline_s=soon()) as permit:
            async with messages_of(Stream(), busy=lambda: is_busy) as messages:
                await messages.read(permit, most_bytes=10)

    holding = asyncio.create_task(hold())
    while not gate.statistics().permit_count:  # noqa: ASYNC110 - gives way until the task has come so far
        await asyncio.sleep(0)
    (await gate.acquire(80, deadline_s=soon())).release()
    with pytest.raises(OverloadedError, match="others waited"):
        await holding


@pytest.mark.parametrize("begun", [True, False])
async def test_a_silent_stream_ends_when_the_gateway_does(begun: bool) -> None:
    draining = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, draining.set)
    with await gate_of(100).acquire(10, deadline_s=soon()) as permit:
        async with messages_of(Stream(), draining=draining, busy=lambda: True) as messages:
            with pytest.raises(DrainingError):
                await (messages.read(permit, most_bytes=10) if begun else messages.next_begun())


async def test_nothing_is_left_of_a_stream_that_has_been_read() -> None:
    before = asyncio.all_tasks()
    async with messages_of(Stream()):
        assert len(asyncio.all_tasks()) == len(before) + 1
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
