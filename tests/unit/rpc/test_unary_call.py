# SPDX-License-Identifier: Apache-2.0
"""The way of a unary call, whoever handles its message: it ends once, and what it held is then free."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from grpc_h2.bodies.messages import MessageTooLongError
from grpc_h2.server.bare_call import BareCall
from matting_gateway.admission.gate import Gate
from matting_gateway.admission.permit import Permit
from matting_gateway.admission.settings import GateSettings
from matting_gateway.admission.tenants import Tenants
from matting_gateway.clock import SystemClock
from matting_gateway.errors import (
    GatewayError,
    OptionInvalidError,
    OverloadedError,
    PermissionDeniedError,
    ResidencyExceededError,
)
from matting_gateway.rpc.boundary.call_dependencies import CallDependencies
from matting_gateway.rpc.boundary.call_info import CallInfo, ResidencyHold
from matting_gateway.rpc.boundary.call_scope import CallScope
from matting_gateway.rpc.boundary.promise import COPIES_HELD, Promise
from matting_gateway.rpc.boundary.timeouts import Timeouts
from matting_gateway.rpc.boundary.unary_call import UnaryCall
from matting_gateway.rpc.settings import DoorSettings
from matting_gateway.telemetry.metrics import Metrics
from open_inference.tensors import Buffer
from prometheus_client import CollectorRegistry

CLOCK = SystemClock()
MESSAGE = b"message"


class Context:
    """The call on its stream, told by the test what comes of it."""

    network = None
    taken_bytes = 0

    def __init__(self) -> None:
        self.arrived_bytes = 0
        self.announced_bytes = len(MESSAGE)
        self.message: Buffer | Exception | None = MESSAGE
        self.answers: list[list[Buffer]] = []
        self.refused: list[str] = []
        self.served = True
        self.written = True
        self.ended = False
        self.stop: Callable[[], object] = lambda: None
        self.begun: Callable[[], None] = lambda: None
        self.came: Callable[[], None] = lambda: None

    def begin_without_task(self, stop: Callable[[], object]) -> None:
        self.stop, self.served = stop, False

    def when_begun(self, tell: Callable[[], None]) -> None:
        self.begun = tell

    def expect(self, most_bytes: int, tell: Callable[[], None]) -> None:
        self.came = tell

    def received(self) -> Buffer | None:
        if isinstance(self.message, Exception):
            raise self.message
        return self.message

    def answer(self, pieces: list[Buffer], *, borrowed: bool) -> None:
        self.answers.append(pieces)

    def set_trailing_metadata(self, trailers: object) -> None:
        pass

    def refuse(self, _code: object, text: str) -> None:
        self.refused.append(text)

    def done(self) -> bool:
        return self.ended

    def let_go(self) -> None:
        self.served = True


class Scope:
    """What surrounds the call: notes how it ended."""

    def __init__(self, *, admitted: bool = True) -> None:
        self.ends: list[object] = []
        self._admitted = admitted
        self.call = CallInfo(
            method="/a/B",
            metadata={},
            peer="",
            deadline_s=CLOCK.now() + 30,
            has_deadline=True,
            clock=CLOCK,
            metrics=Metrics(CollectorRegistry()),
        )

    def enter(self) -> None: ...

    def seal(self) -> None: ...

    def admit(self) -> None:
        if not self._admitted:
            raise PermissionDeniedError("no")

    def succeeded(self) -> None:
        self.ends.append("succeeded")

    def cancelled(self) -> None:
        self.ends.append("cancelled")

    def failed(self, exc: Exception) -> tuple[object, str, tuple[()]]:
        self.ends.append(type(exc))
        return None, str(exc), ()


class Echo(UnaryCall):
    """A service that answers with the message, once it is let."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.let = asyncio.Event()
        self.cleaned_up = False

    def _handle(self, message: Buffer, promise: Promise, hold: ResidencyHold) -> None:
        self._wait_for(self._echo(message), self._answer)

    async def _echo(self, message: Buffer) -> list[Buffer]:
        try:
            await self.let.wait()
        finally:
            await asyncio.sleep(0)  # who is cancelled may have to wait for others to let go
            self.cleaned_up = True
        return [message]

    def _need_bytes(self, promise: Promise, announced_bytes: int) -> int:
        return promise.message_bytes(announced_bytes)

    def _missing(self) -> GatewayError:
        return OptionInvalidError("nothing came")

    def _permit_for_answer(self, permit: Permit, pieces: list[Buffer]) -> Permit:
        return permit


class Bench:
    """One call on a gate of so many bytes."""

    def __init__(self, *, budget_bytes: int = 1000, timeout_s: float = 30.0, admitted: bool = True) -> None:
        metrics = Metrics(CollectorRegistry())
        self.gate = Gate(GateSettings(budget_bytes=budget_bytes), clock=CLOCK, metrics=metrics)
        self.context, self.scope = Context(), Scope(admitted=admitted)
        dependencies = CallDependencies(
            gate=self.gate,
            scope=lambda _method, _context: cast("CallScope", self.scope),
            on_bug=lambda _call, _exc: None,
            draining=asyncio.Event(),
            tenants=Tenants(None, clock=CLOCK),
            receiving=Timeouts(timeout_s),
            receive_seconds=metrics.stage_seconds.labels("receive"),
            clock=CLOCK,
            settings=DoorSettings(),
        )
        self.call = Echo(dependencies, cast("BareCall", self.context), cast("CallScope", self.scope))

    @property
    def held_bytes(self) -> int:
        return self.gate.statistics().used_bytes

    def assert_over(self, *ends: object) -> None:
        assert self.scope.ends == list(ends)
        assert self.held_bytes == 0
        assert self.context.served


async def test_a_message_is_handled_and_answered_and_nothing_is_held_after_that() -> None:
    bench = Bench()
    bench.call.begin()
    assert bench.held_bytes == 0  # nothing of the message has come
    bench.context.begun()
    assert bench.held_bytes == COPIES_HELD * len(MESSAGE)
    bench.context.came()
    bench.call.let.set()
    await asyncio.wait_for(_until(lambda: bench.context.answers), 5)
    assert bench.context.answers == [[MESSAGE]]
    bench.assert_over("succeeded")


async def test_a_caller_who_is_not_let_in_is_told_and_nothing_is_asked_for() -> None:
    bench = Bench(admitted=False)
    bench.call.begin()
    bench.assert_over(PermissionDeniedError)
    assert bench.context.refused == ["no"]


async def test_a_call_without_a_message_fails_as_its_service_says() -> None:
    bench = Bench()
    bench.call.begin()
    bench.context.begun()
    bench.context.message = None
    bench.context.came()
    bench.assert_over(OptionInvalidError)
    assert bench.context.refused == ["nothing came"]


async def test_a_message_longer_than_promised_is_refused() -> None:
    bench = Bench()
    bench.call.begin()
    bench.context.begun()
    bench.context.message = MessageTooLongError()
    bench.context.came()
    bench.assert_over(OptionInvalidError)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_message_that_does_not_come_in_time_is_given_up(begun: bool) -> None:
    bench = Bench(timeout_s=0.01)
    bench.call.begin()
    if begun:
        bench.context.begun()
    await asyncio.wait_for(_until(lambda: bench.scope.ends), 5)
    bench.assert_over(ResidencyExceededError)


async def test_a_message_that_does_not_go_on_gives_way_to_who_waits_for_its_memory() -> None:
    bench = Bench(budget_bytes=20)
    bench.call.begin()
    bench.context.begun()
    (await bench.gate.acquire(16, deadline_s=CLOCK.now() + 30)).release()
    bench.assert_over(OverloadedError)


async def test_memory_granted_to_a_caller_who_has_left_is_free_at_once() -> None:
    bench = Bench(budget_bytes=20)
    other = await bench.gate.acquire(20, deadline_s=CLOCK.now() + 30)
    bench.call.begin()
    bench.context.begun()  # waits for the other's
    other.release()
    bench.context.stop()
    await asyncio.wait_for(_until(lambda: bench.context.served), 5)
    bench.assert_over("cancelled")


async def test_what_a_caller_who_left_had_in_work_is_held_until_the_work_has_ended() -> None:
    bench = Bench()
    bench.call.begin()
    bench.context.begun()
    bench.context.came()
    await asyncio.sleep(0)  # it is in work
    bench.context.stop()
    assert bench.held_bytes > 0
    assert not bench.context.served
    await asyncio.wait_for(_until(lambda: bench.context.served), 5)
    assert bench.call.cleaned_up
    assert bench.context.answers == []
    bench.assert_over("cancelled")


async def _until(there: Callable[[], object]) -> None:
    while not there():  # noqa: ASYNC110 - gives way until the tasks of the call have come so far
        await asyncio.sleep(0)
