# SPDX-License-Identifier: Apache-2.0
"""The scheduler on a real event loop, in front of backends that answer when told to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from matting_gateway.batching.scheduler import Scheduler
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.clock import Clock, SystemClock
from matting_gateway.domain.job import Batch, BatchKey, BatchResult, EndpointState, Job, JobResult
from matting_gateway.errors import (
    BackendUnavailableError,
    DeadlineExpiredError,
    DeadlineUnreachableError,
    DrainingError,
    InternalError,
    OverloadedError,
    TensorInvalidError,
)
from matting_gateway.telemetry.metrics import Metrics
from open_inference.tensors import Tensor
from prometheus_client import CollectorRegistry
from testkit.manual_clock import ManualClock

KEY = BatchKey("model", "1", ())
CLOCK = SystemClock()


class Backend:
    """Batches that were sent, each answered by the test."""

    def __init__(self, *names: str, max_batch_size: int = 8, instance_count: int = 1) -> None:
        self.states = {
            name: EndpointState(name, True, 2 * instance_count, instance_count, max_batch_size) for name in names
        }
        self.sent: asyncio.Queue[tuple[str, Batch, asyncio.Future[BatchResult]]] = asyncio.Queue()

    async def run_batch(self, endpoint: str, batch: Batch, patience_s: float) -> BatchResult:
        assert patience_s > 0
        future: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
        self.sent.put_nowait((endpoint, batch, future))
        return await future

    def endpoints(self, key: BatchKey) -> tuple[EndpointState, ...]:
        return tuple(self.states.values())

    async def next(self) -> tuple[str, Batch, asyncio.Future[BatchResult]]:
        async with asyncio.timeout(20.0):
            return await self.sent.get()


def answer(batch: Batch) -> BatchResult:
    return BatchResult(tuple((Tensor("alpha", "UINT8", (job.row_count,), b""),) for job in batch.jobs))


def job(deadline_in_s: float = 5.0, rows: int = 1, clock: Clock = CLOCK) -> Job:
    return Job(KEY, (), rows, clock.now() + deadline_in_s)


class Start(Protocol):
    def __call__(
        self, backend: Backend, settings: BatchingSettings | None = None, clock: Clock = CLOCK
    ) -> Scheduler: ...


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    made: list[Scheduler] = []

    def make(backend: Backend, settings: BatchingSettings | None = None, clock: Clock = CLOCK) -> Scheduler:
        scheduler = Scheduler(
            run_batch=backend.run_batch,
            endpoints=backend.endpoints,
            clock=clock,
            metrics=Metrics(CollectorRegistry()),
            settings=settings or BatchingSettings(),
        )
        scheduler.start()
        made.append(scheduler)
        return scheduler

    yield make
    for scheduler in made:
        await scheduler.close()


async def test_a_job_is_answered(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    future = scheduler.submit(job())
    endpoint, batch, reply = await backend.next()
    reply.set_result(answer(batch))
    result = await future
    assert (endpoint, result.backend, result.batch_size, result.model) == ("a", "a", 1, "model")


async def test_jobs_that_come_while_the_backend_is_busy_travel_together_by_deadline(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    first = scheduler.submit(job())
    _, batch, reply = await backend.next()
    late, early = job(9.0), job(8.0)
    futures = [scheduler.submit(late), scheduler.submit(early)]
    reply.set_result(answer(batch))
    await first
    _, batch, reply = await backend.next()
    assert batch.jobs == (early, late)
    reply.set_result(answer(batch))
    assert [(await future).batch_size for future in futures] == [2, 2]


async def test_a_free_slot_waits_while_more_bodies_are_coming_in_than_jobs_wait(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend, BatchingSettings(gather_gap_s=60.0, gather_most_s=60.0))
    with scheduler.coming, scheduler.coming:
        first = scheduler.submit(job())
        await asyncio.sleep(0)
        assert backend.sent.empty()
    second = scheduler.submit(job())
    _, batch, reply = await backend.next()
    reply.set_result(answer(batch))
    assert [(await future).batch_size for future in (first, second)] == [2, 2]


async def test_a_full_batch_waits_for_nobody_and_a_body_that_never_comes_holds_nobody_up_for_long(start: Start) -> None:
    backend = Backend("a", max_batch_size=2)
    scheduler = start(backend)
    with scheduler.coming, scheduler.coming:
        alone = scheduler.submit(job())
        _, batch, reply = await backend.next()
        reply.set_result(answer(batch))
        await alone
        futures = [scheduler.submit(job()) for _ in range(2)]
        _, batch, reply = await backend.next()
        assert len(batch.jobs) == 2
        reply.set_result(answer(batch))
        await asyncio.gather(*futures)


async def test_a_failed_batch_is_tried_once_elsewhere(start: Start) -> None:
    backend = Backend("a", "b")
    scheduler = start(backend)
    future = scheduler.submit(job())
    first, _, reply = await backend.next()
    reply.set_exception(BackendUnavailableError("gone"))
    second, _, reply = await backend.next()
    assert {first, second} == {"a", "b"}
    reply.set_exception(BackendUnavailableError("gone too"))
    with pytest.raises(BackendUnavailableError, match="gone too"):
        await future
    assert scheduler.statistics().inflight_batch_count == 0


async def test_an_error_that_says_so_is_not_tried_again(start: Start) -> None:
    backend = Backend("a", "b")
    scheduler = start(backend)
    future = scheduler.submit(job())
    _, _, reply = await backend.next()
    reply.set_exception(InternalError("wrong shape"))
    with pytest.raises(InternalError, match="wrong shape"):
        await future


async def test_whatever_a_batch_raises_is_an_internal_error(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    future = scheduler.submit(job())
    _, _, reply = await backend.next()
    reply.set_exception(ZeroDivisionError())
    with pytest.raises(InternalError):
        await future


async def test_a_job_that_failed_for_its_own_sake_leaves_its_neighbours_alone(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    futures = [scheduler.submit(job()), scheduler.submit(job())]
    _, batch, reply = await backend.next()
    reply.set_result(BatchResult(answer(batch).outputs, "7", {0: TensorInvalidError("not like this")}))
    with pytest.raises(TensorInvalidError, match="not like this"):
        await futures[0]
    assert (await futures[1]).version == "7"


async def test_an_answer_of_another_length_is_an_internal_error(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    future = scheduler.submit(job())
    _, _, reply = await backend.next()
    reply.set_result(BatchResult(()))
    with pytest.raises(InternalError):
        await future


async def test_a_caller_gone_while_its_batch_fails_is_not_tried_again(start: Start) -> None:
    backend = Backend("a", "b")
    scheduler = start(backend)
    gone, kept = scheduler.submit(job()), scheduler.submit(job())
    _, _, reply = await backend.next()
    gone.cancel()
    await asyncio.sleep(0)
    reply.set_exception(BackendUnavailableError("down"))
    _, batch, reply = await backend.next()
    assert batch.row_count == 1
    reply.set_result(answer(batch))
    await kept
    assert scheduler.statistics().inflight_batch_count == 0


async def test_metrics_tell_what_happened(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    registry = scheduler._metrics.registry
    value = registry.get_sample_value
    first = scheduler.submit(job())
    _, batch, reply = await backend.next()
    second = scheduler.submit(job())
    assert value("matting_queue_depth") == 1
    assert value("matting_backend_inflight", {"backend": "a"}) == 1
    second.cancel()
    reply.set_result(answer(batch))
    await first
    with pytest.raises(DeadlineUnreachableError):
        scheduler.submit(job(-1.0))
    assert value("matting_queue_depth") == 0
    assert value("matting_backend_inflight", {"backend": "a"}) == 0
    assert value("matting_batch_size_count", {"model": "model"}) == 1
    assert value("matting_queue_wait_seconds_count", {"model": "model"}) == 1
    assert value("matting_backend_seconds_count", {"backend": "a"}) == 1
    assert value("matting_dropped_total", {"reason": "cancelled"}) == 1
    assert value("matting_dropped_total", {"reason": "unreachable"}) == 1
    assert "serving" in repr(scheduler)


async def test_a_cancelled_job_never_reaches_the_backend(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    first = scheduler.submit(job())
    _, batch, reply = await backend.next()
    waiting, kept = scheduler.submit(job()), scheduler.submit(job())
    waiting.cancel()
    reply.set_result(answer(batch))
    await first
    _, batch, reply = await backend.next()
    assert batch.row_count == 1
    reply.set_result(answer(batch))
    await kept


async def test_a_waiting_job_is_dropped_no_later_than_its_deadline(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    scheduler.submit(job())
    await backend.next()
    waiting = job(0.05)
    future = scheduler.submit(waiting)
    deadline = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(waiting.deadline_s - CLOCK.now(), deadline.set_result, None)
    await deadline
    assert future.done()
    with pytest.raises(DeadlineExpiredError):
        await future


async def test_no_backend_no_entry(start: Start) -> None:
    scheduler = start(Backend())
    with pytest.raises(BackendUnavailableError) as caught:
        scheduler.submit(job())
    assert caught.value.retry_after_s


async def test_more_rows_than_any_batch_holds_are_refused(start: Start) -> None:
    scheduler = start(Backend("a", max_batch_size=4))
    with pytest.raises(TensorInvalidError, match="at most 4"):
        scheduler.submit(job(rows=5))


async def test_a_deadline_in_the_past_is_refused(start: Start) -> None:
    scheduler = start(Backend("a"))
    with pytest.raises(DeadlineUnreachableError):
        scheduler.submit(job(-1.0))
    with pytest.raises(DeadlineUnreachableError):
        scheduler.check(KEY, 1, CLOCK.now() - 1.0, job().priority)


async def test_draining_answers_what_was_accepted_and_takes_nothing_new(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    futures = [scheduler.submit(job())]
    _, batch, reply = await backend.next()
    futures.append(scheduler.submit(job()))
    drained = asyncio.create_task(scheduler.drain())
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        scheduler.submit(job())
    reply.set_result(answer(batch))
    _, batch, reply = await backend.next()
    assert not drained.done()
    reply.set_result(answer(batch))
    await drained
    assert all(future.done() for future in futures)


async def test_closing_tells_everybody(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    flying = scheduler.submit(job())
    await backend.next()
    waiting = scheduler.submit(job())
    await scheduler.close()
    for future in (flying, waiting):
        with pytest.raises(DrainingError):
            await future


async def test_an_endpoint_that_comes_back_gets_the_waiting_work(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    scheduler.submit(job())
    _, _, reply = await backend.next()
    waiting = scheduler.submit(job())
    state = backend.states.pop("a")
    scheduler.endpoints_changed()
    reply.set_exception(BackendUnavailableError("gone"))
    with pytest.raises(BackendUnavailableError):
        scheduler.submit(job())
    backend.states["a"] = state
    scheduler.endpoints_changed()
    _, batch, reply = await backend.next()
    reply.set_result(answer(batch))
    await waiting


async def test_an_overloaded_model_refuses_at_once_and_says_when_to_come_back(start: Start) -> None:
    backend, clock = Backend("a"), ManualClock()
    scheduler = start(backend, clock=clock)
    for _ in range(4):
        future = scheduler.submit(job(clock=clock))
        _, batch, reply = await backend.next()
        clock.advance(0.02)
        reply.set_result(answer(batch))
        await future
    accepted: list[asyncio.Future[JobResult]] = []

    def submit_until_refused() -> None:
        while True:
            accepted.append(scheduler.submit(job(0.1, clock=clock)))

    with pytest.raises(OverloadedError) as caught:
        submit_until_refused()
    assert 0 < len(accepted) < 100
    assert 0 < (caught.value.retry_after_s or 0) < 1.0


class Told:
    """Who is told at once, and what."""

    def __init__(self) -> None:
        self.results: list[JobResult] = []
        self.errors: list[Exception] = []

    def done(self) -> bool:
        return False

    def set_result(self, result: JobResult) -> None:
        self.results.append(result)

    def set_exception(self, error: Exception) -> None:
        self.errors.append(error)


async def test_who_takes_without_a_future_is_told_too(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    told, future = Told(), scheduler.submit(job())
    entry = scheduler.enqueue(job(), told)
    _, batch, reply = await backend.next()
    reply.set_result(answer(batch))
    await future
    assert [result.batch_size for result in told.results] == [2]
    scheduler.withdraw(entry)


async def test_what_is_withdrawn_is_not_sent_and_nobody_is_told_of_it(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    told = Told()
    scheduler.withdraw(scheduler.enqueue(job(), told))
    assert scheduler.statistics().waiting_count == 0
    future = scheduler.submit(job())
    entry = scheduler.enqueue(job(), told)
    _, batch, reply = await backend.next()
    scheduler.withdraw(entry)  # in flight already
    reply.set_result(answer(batch))
    assert (await future).batch_size == 2
    assert (told.results, told.errors) == ([], [])


async def test_who_leaves_just_as_a_batch_is_sent_spoils_it_for_nobody(start: Start) -> None:
    backend = Backend("a")
    scheduler = start(backend)
    stays, leaves = job(8.0), job(9.0)
    future = scheduler.submit(stays)
    entry = scheduler.enqueue(leaves, asyncio.get_running_loop().create_future())
    asyncio.get_running_loop().call_soon(
        scheduler.withdraw, entry
    )  # behind what sends the batch, before it is under way
    _, batch, reply = await backend.next()
    assert batch.jobs == (stays, leaves)
    reply.set_result(answer(batch))
    assert (await future).batch_size == 2
