# SPDX-License-Identifier: Apache-2.0
"""The story of one photo, top to bottom."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from open_inference.tensors import Tensor, TensorSpec

from matting_gateway.admission.permit import Permit
from matting_gateway.batching.scheduler import Scheduler
from matting_gateway.clock import Clock
from matting_gateway.domain.job import BatchKey, Job
from matting_gateway.domain.model import Fit, ModelContract
from matting_gateway.domain.photo import MattingAnswer, MattingRequest
from matting_gateway.errors import Code, DeadlineExpiredError, GatewayError, OptionInvalidError
from matting_gateway.imaging.dispatch.backlog import PhotoWork
from matting_gateway.imaging.header import PhotoHeader
from matting_gateway.imaging.service import ImagingService, PreparedPhoto
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.telemetry.outcomes import outcome_of
from matting_gateway.traces import Trace


class Pipeline:
    """Turns one admitted request into its answer. Holds no state of its own between calls."""

    def __init__(
        self,
        *,
        imaging: ImagingService,
        scheduler: Scheduler,
        model: Callable[[str, str], ModelContract],
        default_model: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._imaging = imaging
        self._scheduler = scheduler
        self._model = model
        self._default_model = default_model
        self._clock = clock
        self._metrics = metrics
        self._stages = {
            stage: metrics.stage_seconds.labels(stage)
            for stage in ("inspect", "decode", "queue", "inference", "render")
        }

    async def run(
        self,
        request: MattingRequest,
        *,
        deadline_s: float,
        permit: Permit,
        request_bytes: int,
        tenant: str = "",
        on_pixels: Callable[[int], None] = lambda _: None,
        trace: Trace | None = None,
    ) -> MattingAnswer:
        """Return the answer of one photo.

        `on_pixels` is told the photo's size before anything is decoded, and may refuse it; `trace` is told of each
        stage.

        The permit, taken for the most that the call might need or for its message alone, is settled
        on what it does need as soon as the photo's header is read.

        Raises:
            GatewayError: Whatever the call must be answered with.
        """
        name = request.model or self._default_model
        with self._outcome(name, tenant, deadline_s):
            model = self._model(name, request.version)
            if model.matting is None:
                raise OptionInvalidError(
                    f"Model {name} takes tensors, not photos; ask it through inference.GRPCInferenceService.",
                    field="model.name",
                )
            outputs = request.outputs
            with self._stage("inspect", trace):
                self._imaging.check_outputs(outputs)
                header = await self._imaging.inspect_soon(request.photo, outputs)
            on_pixels(header.pixel_count)
            need_bytes = request_bytes + header.working_bytes(outputs, model.matting)
            self._scheduler.photo_offered(self._imaging.photo_work_s())
            with self._admitted(header, request, deadline_s) as work:
                await permit.settle(need_bytes, deadline_s=deadline_s, priority=request.priority)
                if model.matting.fit is not Fit.ASPECT:
                    # Refused before it is decoded, where the shape at the model's grid is known already.
                    grid = _key_of(model, request.version, model.matting.width_px, model.matting.height_px)
                    self._scheduler.check(grid, 1, work.model_deadline_s, request.priority, tenant)
                with self._stage("decode", trace):
                    prepared = await self._imaging.prepare(request.photo, header, model.matting, outputs, work)
                with prepared:
                    self._check_deadline(deadline_s, "it was decoded")
                    job = _job_of(model, request, prepared, work.model_deadline_s, tenant, trace)
                    result = await self._scheduler.submit(job)
                    self._stages["queue"].observe(result.queue_s, trace)
                    self._stages["inference"].observe(result.inference_s, trace)
                    self._check_deadline(deadline_s, "the model had answered")
                    with self._stage("render", trace):
                        rendered = await self._imaging.render(prepared, result.outputs[0].data)
            return MattingAnswer(
                rendered.outputs, rendered.subject, result.model, result.version, result.queue_s, result.inference_s
            )

    @contextmanager
    def _admitted(self, header: PhotoHeader, request: MattingRequest, deadline_s: float) -> Iterator[PhotoWork]:
        """Have a photo in work, where it can be done in time."""
        try:
            work = self._imaging.admit(header, request.outputs, deadline_s=deadline_s, priority=request.priority)
        except GatewayError:
            self._metrics.dropped.labels("workers").inc()
            raise
        try:
            yield work
        finally:
            self._imaging.leave(work)

    def _check_deadline(self, deadline_s: float, step: str) -> None:
        if self._clock.now() >= deadline_s:
            raise DeadlineExpiredError(f"The deadline passed while the photo was in work, after {step}.")

    @contextmanager
    def _stage(self, stage: str, trace: Trace | None) -> Iterator[None]:
        since_s = self._clock.now()
        try:
            yield
        finally:
            until_s = self._clock.now()
            self._stages[stage].observe(until_s - since_s, trace)
            if trace is not None:
                trace.stage(stage, since_s, until_s)

    @contextmanager
    def _outcome(self, model: str, tenant: str, deadline_s: float) -> Iterator[None]:
        """Count the photo by what becomes of it."""
        outcome = "error"
        try:
            yield
            outcome = "ok" if self._clock.now() <= deadline_s else "late"
        except (GatewayError, asyncio.CancelledError) as exc:
            if isinstance(exc, GatewayError) and exc.code is Code.NOT_FOUND:
                model = "unknown"  # a label must not be what a caller makes up
            outcome = outcome_of(exc)
            raise
        finally:
            self._metrics.images.labels(model, outcome, tenant).inc()


def _key_of(model: ModelContract, version: str, width_px: int, height_px: int) -> BatchKey:
    """Return the batch key of one photo at the model's grid.

    A model without a batch dimension may spell out a leading 1 in its own shapes. An empty
    version follows the newest, also while the job waits.
    """
    shape: tuple[int, ...] = (height_px, width_px, 3)
    if model.max_batch_size == 0 and len(model.inputs[0].shape) > len(shape):
        shape = (1, *shape)
    return BatchKey(model.name, version, (TensorSpec("image", "UINT8", shape),), ("alpha",))


def _job_of(
    model: ModelContract,
    request: MattingRequest,
    prepared: PreparedPhoto,
    deadline_s: float,
    tenant: str,
    trace: Trace | None,
) -> Job:
    key = _key_of(model, request.version, prepared.width_px, prepared.height_px)
    row_shape = key.inputs[0].shape
    tensor_shape = (1, *row_shape) if model.max_batch_size > 0 else row_shape
    return Job(
        key=key,
        inputs=(Tensor("image", "UINT8", tensor_shape, prepared.data),),
        row_count=1,
        deadline_s=deadline_s,
        priority=request.priority,
        tenant=tenant,
        trace=trace,
    )
