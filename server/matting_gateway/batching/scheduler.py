# SPDX-License-Identifier: Apache-2.0
"""The one owner of the queue: runs `core.SchedulerCore` on the event loop."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from open_inference.tensors import Tensor

from matting_gateway.batching.core import FallbackModel, SchedulerCore, Weight
from matting_gateway.batching.endpoints.endpoint_model import InflightBatch
from matting_gateway.batching.entry import Entry, ResultReceiver
from matting_gateway.batching.outcomes import Action, Drop, Refusal, SchedulerStatistics, Send
from matting_gateway.batching.queue.batch_holdoff import BatchHoldoff
from matting_gateway.batching.refusals import copy_of, draining_error, drop_error, refusal_error
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.batching.traced_batch import TracedBatch
from matting_gateway.clock import Clock
from matting_gateway.domain.job import Batch, BatchKey, BatchResult, EndpointState, Job, JobResult, Priority
from matting_gateway.errors import GatewayError, InternalError
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.traces import error_type_of


class Scheduler:
    """Holds jobs until a backend has room, sends them in batches, and answers each exactly once.

    Owns the waiting jobs, the latency tables, the batches in flight and every future it gave out. All of
    it is touched on the event loop only. A receiver is told by `_succeeded` or `_refuse`, which
    tolerate that its caller cancelled it.

    Args:
        run_batch: Sends a batch to an endpoint and waits for its answer, for at most the given
            seconds; raises GatewayError.
        endpoints: The pool's view of who can serve a key. Asked again after `endpoints_changed`.
        clock: Must be the loop's own monotonic clock, or one that the tests move together with it.
        fallback: Names the key that may serve instead before anyone is refused.
        tenant_weight: A tenant's share under overload, in proportion to the others' weights; 1.0 for all
            if absent.
    """

    def __init__(
        self,
        *,
        run_batch: Callable[[str, Batch, float], Awaitable[BatchResult]],
        endpoints: Callable[[BatchKey], Sequence[EndpointState]],
        clock: Clock,
        metrics: Metrics,
        settings: BatchingSettings,
        fallback: FallbackModel | None = None,
        tenant_weight: Weight | None = None,
    ) -> None:
        self._run_batch = run_batch
        self._clock = clock
        self._metrics = metrics
        self._core = SchedulerCore(endpoints, settings, fallback, tenant_weight)
        # Entered while a body is received that becomes a job as soon as it is complete.
        self.coming = BatchHoldoff(gap_s=settings.gather_gap_s, most_s=settings.gather_most_s)
        metrics.queue_depth.set_function(lambda: self._core.waiting_count)
        metrics.utilization.set_function(self.utilization)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pump_handle: asyncio.Handle | None = None
        self._holds = False
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    # --- arrival --------------------------------------------------------------------------

    def submit(self, job: Job) -> asyncio.Future[JobResult]:
        """Take a job in; the future has its answer. Cancelling it removes the job while it waits.

        Raises:
            OverloadedError: It would be answered too late; says when to come back.
            DeadlineUnreachableError: Its deadline is too near even without waiting.
            BackendUnavailableError: No backend can serve its model now.
            TensorInvalidError: It has more rows than fit into any batch.
            DrainingError: The gateway takes nothing new.
        """
        future: asyncio.Future[JobResult] = self._running_loop().create_future()
        entry = self.enqueue(job, future)
        future.add_done_callback(functools.partial(self._answered, entry))
        return future

    def enqueue(self, job: Job, receiver: ResultReceiver) -> Entry:
        """Take a job in, as `submit` does, for a receiver that is told at once what became of it.

        Who enqueued it withdraws it in the end, answered or not.

        Raises:
            GatewayError: As `submit`.
        """
        self._running_loop()
        entry = self._core.arrive(job, receiver, self._clock.now())
        if isinstance(entry, Refusal):
            self._count_refusal(entry)
            raise refusal_error(entry)
        self._idle.clear()
        self.coming.arrived(entry.arrived_s)
        self._wake()
        return entry

    def withdraw(self, entry: Entry) -> None:
        """Let go of a job that is answered, or whose caller is gone; where it still waits, it is removed untold."""
        if self._core.cancel(entry):
            self._note_waited(entry)
            self._metrics.dropped.labels("cancelled").inc()
            self._after_change()
        entry.forget()

    def check(self, key: BatchKey, row_count: int, deadline_s: float, priority: Priority, tenant: str = "") -> None:
        """Raise what `submit` would raise for such a job now."""
        self._running_loop()
        now_s = self._clock.now()
        refusal = self._core.check(key, row_count, deadline_s, priority, tenant, now_s)
        if refusal is not None:
            self._core.turned_away(key, row_count, deadline_s, priority, tenant, now_s)
            self._count_refusal(refusal)
            raise refusal_error(refusal)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._draining or self._loop is None:
            raise draining_error()
        return self._loop

    def _count_refusal(self, refusal: Refusal) -> None:
        self._metrics.dropped.labels(refusal.reason.value).inc()

    def _answered(self, entry: Entry, future: asyncio.Future[JobResult]) -> None:
        if not future.cancelled():
            future.exception()  # a caller that is gone will not fetch it, and need not
        self.withdraw(entry)

    def utilization(self) -> float:
        """Return what was offered during the last second over what can be done, refused calls included."""
        return self._core.load.utilization(self._clock.now())

    def photo_offered(self, imaging_s: float) -> None:
        """Count what a photo asks of the imaging workers: so many seconds of all of them together."""
        self._core.load.note_photo(imaging_s, self._clock.now())

    def offered_unseen(self, count: int) -> None:
        """Count a call that waits, or is refused, before it can become a job; -1: it is let in after all."""
        self._core.load.note_unseen(count, self._clock.now())

    # --- the loop's side of the machine ---------------------------------------------------

    def endpoints_changed(self) -> None:
        """Look at the pool again: health, models or slots have changed."""
        self._core.endpoints_changed(self._clock.now())
        self._wake()

    def _wake(self) -> None:
        """Look for batches to send: once per turn of the loop, or when what is still coming in has come."""
        if self._loop is None:
            return
        hold_s = self.coming.hold_s(self._core.waiting_count, self._clock.now())
        if hold_s and self._core.has_full_batch():
            hold_s = 0.0
        if self._pump_handle is not None:
            if hold_s or not self._holds:
                return
            self._pump_handle.cancel()
        self._holds = hold_s > 0.0
        self._pump_handle = (
            self._loop.call_later(hold_s, self._held_off) if self._holds else self._loop.call_soon(self._pump)
        )

    def _held_off(self) -> None:
        self._pump_handle = None
        self._wake()

    def _pump(self) -> None:
        if self._pump_handle is not None:
            self._pump_handle.cancel()
            self._pump_handle = None
        if self._closed:
            return
        self._perform(self._core.pump(self._clock.now()))
        self.coming.sent()
        self._after_change()

    def _after_change(self) -> None:
        if not self._core.waiting_count and not self._core.inflight_batches:
            self._idle.set()
        wake_s = self._core.wake_at()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wake_s is not None and self._loop is not None:
            self._timer = self._loop.call_later(max(0.0, wake_s - self._clock.now()), self._pump)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                # Taken now: a caller who leaves before the task begins takes its own out of the entry.
                jobs = tuple(entry.job for entry in action.inflight_batch.entries)
                task = asyncio.create_task(self._run(action.inflight_batch, jobs))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(action, Drop):
                self._metrics.dropped.labels(action.reason.value).inc()
                self._note_waited(action.entry)
                self._refuse(action.entry, drop_error(action.reason))

    async def _run(self, inflight_batch: InflightBatch, jobs: tuple[Job, ...]) -> None:
        endpoint = inflight_batch.server.endpoint
        inflight = self._metrics.backend_inflight.labels(endpoint)
        inflight.inc()
        self._metrics.batch_size.labels(inflight_batch.key.model).observe(inflight_batch.rows)
        waited = self._metrics.queue_wait_seconds.labels(inflight_batch.key.model)
        for entry in inflight_batch.entries:
            waited.observe(inflight_batch.sent_s - entry.arrived_s, entry.job.trace)
        try:
            result = await self._send(inflight_batch, jobs)
        except GatewayError as error:
            self._failed(inflight_batch, error)
        except asyncio.CancelledError:
            self._failed(inflight_batch, draining_error())
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, the callers are told and the service goes on
            fault = InternalError("The batch could not be run.")
            fault.__cause__ = exc
            self._failed(inflight_batch, fault)
        else:
            if len(result.outputs) == len(inflight_batch.entries):
                self._succeeded(inflight_batch, result)
            else:
                self._failed(
                    inflight_batch, InternalError("The batch came back with another number of answers than jobs.")
                )
        finally:
            inflight.dec()
            self._metrics.backend_seconds.labels(endpoint).observe(self._clock.now() - inflight_batch.sent_s)

    async def _send(self, inflight_batch: InflightBatch, jobs: tuple[Job, ...]) -> BatchResult:
        """Have a batch run, and its traced jobs told of it: one of them carries it to the backend."""
        endpoint = inflight_batch.server.endpoint
        traced = TracedBatch.of(jobs, endpoint, inflight_batch.rows)
        batch = Batch(inflight_batch.key, jobs, inflight_batch.rows, "" if traced is None else traced.traceparent)
        if traced is None:
            return await self._run_batch(endpoint, batch, inflight_batch.patience_s)
        arrivals, error_type = [entry.arrived_s for entry in inflight_batch.entries], ""
        try:
            return await self._run_batch(endpoint, batch, inflight_batch.patience_s)
        except BaseException as exc:
            error_type = error_type_of(exc)
            raise
        finally:
            traced.ended(arrivals, inflight_batch.sent_s, self._clock.now(), error_type)

    def _note_waited(self, entry: Entry) -> None:
        """Tell the trace of a job that is given up that it waited until now."""
        if entry.job.trace is not None:
            entry.job.trace.queued(entry.arrived_s, self._clock.now())

    def _succeeded(self, inflight_batch: InflightBatch, result: BatchResult) -> None:
        now_s = self._clock.now()
        try:
            for index, (entry, outputs) in enumerate(zip(inflight_batch.entries, result.outputs, strict=True)):
                error = result.errors.get(index)
                if error is not None:
                    self._refuse(entry, copy_of(error))
                elif entry.receiver is not None and not entry.receiver.done():
                    entry.receiver.set_result(self._result(inflight_batch, entry, outputs, result.version, now_s))
        finally:  # after the answers, which need not wait for what is learned from their batch
            self._core.complete(inflight_batch, now_s)
        self._wake()

    @staticmethod
    def _result(
        inflight_batch: InflightBatch, entry: Entry, outputs: tuple[Tensor, ...], version: str, now_s: float
    ) -> JobResult:
        return JobResult(
            outputs=outputs,
            model=inflight_batch.key.model,
            version=version or inflight_batch.key.version,
            backend=inflight_batch.server.endpoint,
            batch_size=inflight_batch.rows,
            queue_s=inflight_batch.sent_s - entry.arrived_s,
            inference_s=now_s - inflight_batch.sent_s,
        )

    def _failed(self, inflight_batch: InflightBatch, error: GatewayError) -> None:
        retry = error.retry_elsewhere and not self._closed
        for action in self._core.fail(inflight_batch, self._clock.now(), retry=retry):
            self._metrics.dropped.labels("backend").inc()
            self._refuse(action.entry, copy_of(error))
        self._pump()

    def _refuse(self, entry: Entry, error: GatewayError) -> None:
        if entry.receiver is not None and not entry.receiver.done():
            entry.receiver.set_exception(error)

    # --- the end --------------------------------------------------------------------------

    async def drain(self) -> None:
        """Take nothing new, and return when all that was accepted is answered."""
        self._draining = True
        await self._idle.wait()

    async def close(self) -> None:
        """Stop at once: batches in flight are cancelled, and whoever waits is told."""
        self._draining = self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for entry in self._core.waiting_entries():
            self._core.cancel(entry)
            self._refuse(entry, draining_error())
        if self._pump_handle is not None:
            self._pump_handle.cancel()
        self._after_change()

    def statistics(self) -> SchedulerStatistics:
        return SchedulerStatistics(
            waiting_count=self._core.waiting_count,
            inflight_batch_count=len(self._core.inflight_batches),
            inflight_job_count=sum(len(inflight_batch.entries) for inflight_batch in self._core.inflight_batches),
            draining=self._draining,
        )

    def __repr__(self) -> str:
        state = "draining" if self._draining else "serving"
        return f"<Scheduler {state}: {self._core!r}>"
