# SPDX-License-Identifier: Apache-2.0
"""The imaging room as the pipeline sees it: photos are inspected here, and decoded and rendered by workers."""

import asyncio
import contextlib
import functools
import importlib.util
import math
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from open_inference.tensors import Buffer

from matting_gateway.clock import Clock
from matting_gateway.domain.job import Priority
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import OutputSpec, Photo
from matting_gateway.errors import ImageUnreadableError, InternalError
from matting_gateway.imaging.answers import Rendered, read_decoded, read_rendered
from matting_gateway.imaging.dispatch.backlog import PhotoWork
from matting_gateway.imaging.dispatch.call_file import CallFile
from matting_gateway.imaging.dispatch.photo_admission import PhotoAdmission
from matting_gateway.imaging.dispatch.step_costs import StepKind
from matting_gateway.imaging.dispatch.worker_pool import WorkerFailedError, WorkerPool
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.header import PhotoHeader
from matting_gateway.imaging.headers.model import FEW_PARTS, MAX_PARTS, TooManyPartsError
from matting_gateway.imaging.inspect import inspect
from matting_gateway.imaging.options import check_outputs
from matting_gateway.imaging.photo_job import Kept, PhotoJob, Request, Step
from matting_gateway.imaging.plan_job import contents, plan_job, step_memory_bytes, step_timeout_s
from matting_gateway.imaging.settings import ImagingSettings

# It takes half a millisecond at most.
_COPIED_AT_ONCE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PreparedPhoto:
    """A photo ready for the model: `data` is uint8 RGB [height_px, width_px, 3], a view of the call's file.

    Owns the file until it is left as a context.
    """

    data: Buffer
    width_px: int
    height_px: int
    job: PhotoJob
    packed_job: bytes
    working_bytes: int
    kept: tuple[Kept, ...]
    file: CallFile
    work: PhotoWork
    since_s: float

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.file.close()


@dataclass(frozen=True, slots=True)
class ImagingStatistics:
    """What the room is doing now, and what it did: `in_work` are photos that are let in, the others count steps."""

    worker_count: int
    in_work: int
    active: int
    waiting: int
    prepared_total: int
    rendered_total: int
    killed_total: int


class ImagingService:
    """Decodes and renders photos in a bounded number of worker processes.

    Owns the workers, what is known of the photos in work, and the counts in `statistics()`; all are touched on the
    event loop only.
    A cancelled `prepare` or `render` returns when its worker has let go of the photo, so that whoever accounts
    for memory by awaiting it is right.
    """

    def __init__(self, settings: ImagingSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._worker_count = settings.worker_count or len(os.sched_getaffinity(0))
        self._clock = clock
        self._workers = WorkerPool(self._worker_count, clock=clock)
        self._admission = PhotoAdmission(self._worker_count)
        self._formats = _available_formats(settings)
        self._active = 0
        self._prepared_total = 0
        self._rendered_total = 0

    def __repr__(self) -> str:
        return f"<Imaging {self._active} active, {self._workers!r}>"

    async def start(self) -> None:
        """Start the workers.

        Raises:
            InternalError: One did not start.
        """
        await self._workers.start()

    async def close(self) -> None:
        """Finish what runs, and stop the workers."""
        await self._workers.close()

    def statistics(self) -> ImagingStatistics:
        return ImagingStatistics(
            self._worker_count,
            self._admission.in_work,
            self._active,
            self._workers.waiting_count,
            self._prepared_total,
            self._rendered_total,
            self._workers.killed_total,
        )

    def photo_work_s(self) -> float:
        """Return how long all workers together are busy with a photo as they come of late; 0.0 while unknown."""
        return self._admission.photo_work_s

    def check_outputs(self, outputs: Sequence[OutputSpec]) -> None:
        """Check all options before any work.

        Raises:
            OptionInvalidError: A value outside its range, or options that contradict one another.
            OptionUnsupportedError: An encoding that is not written here.
        """
        check_outputs(outputs, self._settings.max_outputs)

    def inspect(self, photo: Photo, outputs: Sequence[OutputSpec]) -> PhotoHeader:
        """Read the headers of a photo and of its background pictures, and check every limit. Decodes nothing.

        Raises:
            ImageUnreadableError: No image, cut off or damaged.
            ImageFormatUnsupportedError: A format or kind that is not accepted.
            ImageTooLargeError: Over a limit.
            OptionInvalidError: Raw pixels of the wrong length, or an AVIF that would take too much memory.
        """
        return inspect(photo, outputs, self._settings, self._formats, MAX_PARTS)

    async def inspect_soon(self, photo: Photo, outputs: Sequence[OutputSpec]) -> PhotoHeader:
        """Do what `inspect` does, in a thread where it may take long: a file of nothing but parts does.

        Raises:
            GatewayError: What `inspect` raises.
        """
        try:
            return inspect(photo, outputs, self._settings, self._formats, FEW_PARTS)
        except TooManyPartsError:
            return await asyncio.to_thread(self.inspect, photo, outputs)

    def admit(
        self, header: PhotoHeader, outputs: Sequence[OutputSpec], *, deadline_s: float, priority: Priority
    ) -> PhotoWork:
        """Let a photo in, and say what it will take; who lets it in says when it is in work no more (`leave`).

        Raises:
            OverloadedError: With all that is in work, it or another one would not be done in time.
            DeadlineUnreachableError: It takes longer than its deadline allows, whoever else is in work.
        """
        return self._admission.admit(header, outputs, deadline_s=deadline_s, priority=priority, now_s=self._clock.now())

    def leave(self, work: PhotoWork) -> None:
        """Note that a photo is in work no more."""
        self._admission.leave(work)

    async def prepare(
        self,
        photo: Photo,
        header: PhotoHeader,
        model_input: ModelInput,
        outputs: Sequence[OutputSpec],
        work: PhotoWork | None = None,
    ) -> PreparedPhoto:
        """Decode a photo for the model, and keep of it what the results will need, until the answer is left.

        Args:
            photo: What `header` was read of.
            header: What `inspect` said of it.
            model_input: The model's grid.
            outputs: The results wanted.
            work: What was `admitted`; who has nothing to be done in time needs none.

        Raises:
            ImageUnreadableError: Damaged behind its header, or it made its decoder hang or crash.
            ImageFormatUnsupportedError: Samples of a kind that is not accepted.
            ImageTooLargeError: A colour profile that unpacks to too much, or more memory needed than is reasonable.
            DeadlineExpiredError: No worker was free as long as it could still have been answered in time.
            InternalError: No worker could be started, it was killed from outside, or no memory could be had.
        """
        work = work or PhotoWork()
        job = plan_job(photo, header, model_input, outputs, self._settings)
        packed, working_bytes = pickle.dumps(job), header.working_bytes(outputs, model_input)
        file = CallFile(job.total_bytes)
        try:
            for offset, content in contents(job, photo, outputs):
                await _copy(content, file, offset)
            timeout_s = step_timeout_s(job, Step.DECODE, self._settings.worker_timeout_s)
            request = Request(
                Step.DECODE, step_memory_bytes(job, Step.DECODE, working_bytes), math.ceil(timeout_s) + 1, packed
            )
            with self._counted_active():
                kept = await self._workers.run(
                    request,
                    file,
                    lambda answer: read_decoded(answer, job, header.format),
                    timeout_s=timeout_s,
                    deadline_s=work.deadline_s,
                    latest_start_s=work.latest_decode_s,
                    priority=work.priority,
                    note=functools.partial(self._took, work.decode_kind, header.pixel_count),
                )
        except WorkerFailedError as error:
            file.close()
            if error.from_outside:
                raise InternalError("The worker that had the photo was killed; ask again.") from error
            raise ImageUnreadableError(
                f"The {header.format} file could not be decoded within {timeout_s:.1f} s: "
                "it is damaged, or made to be slow."
                if error.too_slow
                else f"The {header.format} file made its decoder fail: it is damaged."
            ) from error
        except BaseException:
            file.close()
            raise
        self._prepared_total += 1
        work.decoded = True
        grid = job.placement
        data = file.view(job.model.offset, job.model.byte_count)
        size = grid.grid_width_px, grid.grid_height_px
        return PreparedPhoto(data, *size, job, packed, working_bytes, kept, file, work, self._clock.now())

    async def render(self, prepared: PreparedPhoto, matte: Buffer) -> Rendered:
        """Make the results from a model's answer, uint8 [height_px, width_px] of `prepared`.

        Raises:
            OptionInvalidError: A result is larger than its format can hold.
            DeadlineExpiredError: No worker was free as long as it could still have been answered in time.
            InternalError: The worker failed, or none could be started.
        """
        job, file, work = prepared.job, prepared.file, prepared.work
        self._admission.note_between(self._clock.now() - prepared.since_s)
        file.write(job.matte.offset, matte)
        timeout_s = step_timeout_s(job, Step.RENDER, self._settings.worker_timeout_s)
        memory_bytes = step_memory_bytes(job, Step.RENDER, prepared.working_bytes)
        request = Request(Step.RENDER, memory_bytes, math.ceil(timeout_s) + 1, prepared.packed_job, prepared.kept)
        try:
            with self._counted_active():
                rendered = await self._workers.run(
                    request,
                    file,
                    lambda answer: read_rendered(answer, job, file),
                    timeout_s=timeout_s,
                    deadline_s=work.deadline_s,
                    latest_start_s=work.latest_render_s,
                    priority=work.priority,
                    note=functools.partial(self._took, work.render_kind, job.width_px * job.height_px),
                )
        except WorkerFailedError as error:
            raise InternalError("The worker that made the results failed; ask again.") from error
        self._rendered_total += 1
        return rendered

    def _took(self, kind: StepKind | None, pixel_count: int, seconds: float) -> None:
        self._admission.note_step(kind, pixel_count, seconds, self._clock.now())

    @contextlib.contextmanager
    def _counted_active(self) -> Iterator[None]:
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1


async def _copy(content: Buffer, file: CallFile, offset: int) -> None:
    """Copy into the call's file, a piece in each turn of the event loop."""
    view = memoryview(content).cast("B")
    for start in range(0, view.nbytes, _COPIED_AT_ONCE_BYTES):
        if start:
            await asyncio.sleep(0)
        file.write(offset + start, view[start : start + _COPIED_AT_ONCE_BYTES])


def _available_formats(settings: ImagingSettings) -> frozenset[ImageFormat]:
    """Return the formats that are allowed and have a decoder installed."""
    if ImageFormat.HEIC in settings.formats and importlib.util.find_spec("pillow_heif") is None:
        return settings.formats - {ImageFormat.HEIC}
    return settings.formats
