# SPDX-License-Identifier: Apache-2.0
"""Random interleavings of whole calls: a permit first, then a place in the queue, then an answer on its way."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matting_gateway.admission.gate import Gate, GateStatistics
from matting_gateway.admission.permit import Permit
from matting_gateway.admission.settings import GateSettings
from matting_gateway.batching.scheduler import Scheduler
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import Batch, BatchKey, BatchResult, EndpointState, Job, Priority
from matting_gateway.errors import BackendUnavailableError, GatewayError
from matting_gateway.telemetry.metrics import Metrics
from open_inference.tensors import Tensor
from prometheus_client import CollectorRegistry
from testkit.long_runs import short_or_long
from testkit.manual_clock import ManualClock

KEY = BatchKey("model", "1", ())
STATES = (EndpointState("x", True, 2, 1, 4), EndpointState("y", True, 4, 2, 8))
BUDGET_BYTES = 100
TURNS = 12  # of the loop, after which nothing moves by itself any more
PRIORITIES = tuple(Priority)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Lives in the time of a clock that is moved by hand; whoever runs in it must never let it sleep."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now()


class Play:
    """Calls come and go before a small gate and two endpoints; everything still open is known."""

    def __init__(self, clock: ManualClock, metrics: Metrics) -> None:
        self.clock = clock
        self.gate = Gate(GateSettings(BUDGET_BYTES, 12, 20), clock=clock, metrics=metrics)
        self.scheduler = Scheduler(
            run_batch=self._run_batch,
            endpoints=lambda _: STATES,
            clock=clock,
            metrics=metrics,
            settings=BatchingSettings(),
        )
        self.scheduler.start()
        self.calls: list[asyncio.Task[str]] = []
        self.permits: list[Permit] = []
        self.sending: list[Permit] = []
        self.batches: list[tuple[Batch, asyncio.Future[BatchResult]]] = []

    async def _run_batch(self, endpoint: str, batch: Batch, patience_s: float) -> BatchResult:
        future: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
        self.batches.append((batch, future))
        return await future

    async def _call(self, number: int, byte_count: int, first: int, second: int) -> str:
        deadline_s = self.clock.now() + (0.02, 0.1, 0.4, 60.0)[second % 4]
        priority = PRIORITIES[second // 4 % 3]
        promised = second // 16 % 4 > 0
        try:
            with await self.gate.acquire(
                byte_count, deadline_s=deadline_s, priority=priority, promised=promised
            ) as permit:
                self.permits.append(permit)
                await permit.settle(first, deadline_s=deadline_s, priority=priority)
                pixels = Tensor("image", "UINT8", (1, 1), bytes([number % 256]))
                result = await self.scheduler.submit(Job(KEY, (pixels,), 1, deadline_s, priority))
                assert result.outputs[0].data == bytes([number % 256])
                rest = permit.hand_over(first // 2)
                self.permits.append(rest)
                self.sending.append(rest)
        except GatewayError as error:
            return error.reason
        return "answered"

    def act(self, kind: int, first: int, second: int) -> None:
        """Let one event happen; what it is follows from three bytes."""
        if kind < 100:
            self.calls.append(asyncio.create_task(self._call(len(self.calls), 5 + first % 60, first % 90, second)))
        elif kind < 120 and self.calls:
            self.calls[-1 - first % len(self.calls)].cancel()
        elif kind < 180 and self.batches:
            self.complete(first)
        elif kind < 200 and self.batches:
            _, future = self.batches.pop(first % len(self.batches))
            future.set_exception(BackendUnavailableError("It went away.", retry_after_s=1.0))
        elif kind < 225 and self.sending:
            self.sending.pop(first % len(self.sending)).release()
        else:
            self.clock.advance((0.001, 0.02, 0.1, 0.5)[first % 4])

    def complete(self, index: int) -> None:
        batch, future = self.batches.pop(index % len(self.batches))
        outputs = tuple((Tensor("alpha", "UINT8", (1, 1), job.inputs[0].data),) for job in batch.jobs)
        if not future.done():
            future.set_result(BatchResult(outputs))

    async def settle(self) -> None:
        """Let everything happen that follows from the last event, and check the books."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.permits = [permit for permit in self.permits if not permit.released]
        statistics = self.gate.statistics()
        assert statistics.permit_count == len(self.permits)
        assert statistics.used_bytes == sum(permit.byte_count for permit in self.permits) <= BUDGET_BYTES

    async def end(self) -> None:
        """Let everything come to its end: every call has one, and nothing is held by anybody."""
        self.clock.advance(1000.0)
        for _ in range(len(self.calls) + 1):
            while self.batches:
                self.complete(0)
            while self.sending:
                self.sending.pop().release()
            await self.settle()
        assert all(call.done() for call in self.calls)
        for call in self.calls:
            assert call.cancelled() or call.exception() is None
        assert self.gate.statistics() == GateStatistics(0, 0, 0, 0)
        statistics = self.scheduler.statistics()
        assert (statistics.waiting_count, statistics.inflight_job_count) == (0, 0)
        await self.scheduler.close()


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def runner(clock: ManualClock) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(clock)) as made:
        yield made


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.mark.slow
@settings(max_examples=short_or_long(300, 3_000), database=None)
@given(script=st.binary(min_size=60, max_size=150))
def test_whatever_happens_every_call_ends_and_no_byte_stays_held(
    script: bytes, runner: asyncio.Runner, clock: ManualClock, metrics: Metrics
) -> None:
    async def run() -> None:
        play = Play(clock, metrics)
        for kind, first, second in zip(script[::3], script[1::3], script[2::3], strict=False):
            play.act(kind, first, second)
            await play.settle()
        await play.end()

    runner.run(run())
