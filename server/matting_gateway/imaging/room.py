# SPDX-License-Identifier: Apache-2.0
"""The imaging room: photos in, results out, all heavy work off the event loop."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from matting_pixels.fit import Placement

from matting_gateway.clock import Clock
from matting_gateway.domain import (
    Buffer,
    EncodedPhoto,
    ModelInput,
    OutputSpec,
    Photo,
    PictureBackground,
    RenderedOutput,
    Subject,
)
from matting_gateway.errors import InternalError
from matting_gateway.imaging.cancellation import outlast_cancellation, watched
from matting_gateway.imaging.decode import set_up_decoders
from matting_gateway.imaging.decoders import Decoders
from matting_gateway.imaging.formats import ImageFormat, register_heif
from matting_gateway.imaging.header import PhotoHeader
from matting_gateway.imaging.headers.model import FileHeader
from matting_gateway.imaging.inspect import read_header
from matting_gateway.imaging.media_types import check_areas
from matting_gateway.imaging.options import check_outputs
from matting_gateway.imaging.pixels import byte_view, from_raw
from matting_gateway.imaging.plan import DecodePlan, needs_color, oriented_size, place, plan_decode
from matting_gateway.imaging.prepare import Prepared, prepare_file, prepare_pixels
from matting_gateway.imaging.render import Renderer
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.telemetry.metrics import Metrics

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PreparedPhoto:
    """A photo ready for the model: `data` is uint8 RGB [height_px, width_px, 3]."""

    data: Buffer
    width_px: int
    height_px: int
    header: PhotoHeader
    placement: Placement
    pixels: Prepared
    backgrounds: dict[int, Prepared]


@dataclass(frozen=True, slots=True, repr=False)
class Rendered:
    """The results of one photo, in the order asked."""

    outputs: tuple[RenderedOutput, ...]
    subject: Subject


@dataclass(frozen=True, slots=True)
class ImagingStatistics:
    """What the room is doing now, and what it did."""

    worker_count: int
    active: int
    prepared_total: int
    rendered_total: int
    killed_total: int


class Imaging:
    """Decodes and renders photos with a bounded number of workers.

    Owns the worker threads and the counts in `statistics()`; both are touched on the event loop only.
    A cancelled `prepare` or `render` returns when its worker has finished, so that whoever accounts
    for memory by awaiting it is right.
    """

    def __init__(self, settings: ImagingSettings, *, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._worker_count = settings.worker_count or len(os.sched_getaffinity(0))
        self._threads: ThreadPoolExecutor | None = None
        self._decoders: Decoders | None = None
        self._formats = _available_formats(settings)
        self._active = 0
        self._prepared_total = 0
        self._rendered_total = 0

    def __repr__(self) -> str:
        return f"<Imaging {self._active} active of {self._worker_count} workers>"

    async def start(self) -> None:
        """Start the workers."""
        set_up_decoders()
        self._threads = ThreadPoolExecutor(self._worker_count, thread_name_prefix="imaging")
        if self._settings.isolate_decoders:
            timeout_s = self._settings.decode_timeout_s
            self._decoders = Decoders(self._worker_count, base_timeout_s=timeout_s, aside=self._run)
            await self._decoders.start()

    async def close(self) -> None:
        """Finish what runs, and stop the workers."""
        if self._decoders is not None:
            await self._decoders.close()
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown, wait=True)

    def statistics(self) -> ImagingStatistics:
        killed = 0 if self._decoders is None else self._decoders.killed_total
        return ImagingStatistics(self._worker_count, self._active, self._prepared_total, self._rendered_total, killed)

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
        file = read_header(photo, self._settings, self._formats)
        backgrounds: dict[int, FileHeader] = {}
        for index, output in enumerate(outputs):
            if isinstance(output.background, PictureBackground):
                header = read_header(output.background.photo, self._settings, self._formats)
                if header is not None:
                    backgrounds[index] = header
        if file is None:
            if isinstance(photo, EncodedPhoto):
                raise InternalError("A file was taken for raw pixels.")
            check_areas(outputs, photo.width_px, photo.height_px)
            return PhotoHeader("RAW", photo.width_px, photo.height_px, None, backgrounds, self._settings.exact)
        width, height = oriented_size(file)
        check_areas(outputs, width, height)
        return PhotoHeader(file.format.title, width, height, file, backgrounds, self._settings.exact)

    async def prepare(
        self, photo: Photo, header: PhotoHeader, model_input: ModelInput, outputs: Sequence[OutputSpec]
    ) -> PreparedPhoto:
        """Decode a photo for the model, and keep of it what the results will need.

        Raises:
            ImageUnreadableError: Damaged behind its header.
            ImageFormatUnsupportedError: Samples of a kind that is not accepted.
            ImageTooLargeError: A colour profile that unpacks to too much.
        """
        placement = place(header.width_px, header.height_px, model_input)
        with self._counted_active():
            prepared = await self._prepare(photo, header, placement, outputs)
        self._prepared_total += 1
        return prepared

    async def render(self, prepared: PreparedPhoto, alpha: Buffer, outputs: Sequence[OutputSpec]) -> Rendered:
        """Make the results from a model's alpha, uint8 [height_px, width_px] of `prepared`.

        Raises:
            OptionInvalidError: A result is larger than its format can hold.
        """
        with self._counted_active():
            rendered = await self._run(lambda: self._render(prepared, alpha, outputs))
        self._rendered_total += 1
        return rendered

    async def _prepare(
        self, photo: Photo, header: PhotoHeader, placement: Placement, outputs: Sequence[OutputSpec]
    ) -> PreparedPhoto:
        settings = self._settings
        if isinstance(photo, EncodedPhoto):
            if header.file is None:
                raise InternalError("A file reached decoding without its header.")
            plan = plan_decode(
                header.file,
                placement,
                outputs,
                exact=settings.exact,
                max_profile_bytes=settings.limits.max_profile_bytes,
            )
            pixels = await self._decode(photo.content, plan)
        else:
            keep_color = any(needs_color(output) for output in outputs)
            pixels = await self._run(lambda: prepare_pixels(from_raw(photo), placement, 1, keep_color, settings.exact))
        backgrounds: dict[int, Prepared] = {}
        for index, background in header.backgrounds.items():
            picture = outputs[index].background
            if isinstance(picture, PictureBackground):
                plan = DecodePlan(background, None, 1, True, settings.exact, settings.limits.max_profile_bytes)
                backgrounds[index] = await self._decode(picture.photo.content, plan)
        if pixels.model_pixels is None:
            raise InternalError("A photo was decoded without the model's input.")
        data = byte_view(pixels.model_pixels)
        return PreparedPhoto(
            data, placement.grid_width_px, placement.grid_height_px, header, placement, pixels, backgrounds
        )

    async def _decode(self, content: Buffer, plan: DecodePlan) -> Prepared:
        if self._decoders is None:
            return await self._run(lambda: prepare_file(content, plan))
        return await self._decoders.decode(content, plan)

    def _render(self, prepared: PreparedPhoto, alpha: Buffer, outputs: Sequence[OutputSpec]) -> Rendered:
        renderer = Renderer(
            prepared.pixels,
            prepared.placement,
            prepared.header.width_px,
            prepared.header.height_px,
            np.frombuffer(alpha, np.uint8).reshape(prepared.height_px, prepared.width_px),
            exact=self._settings.exact,
            default_quality=self._settings.default_quality,
        )
        return Rendered(renderer.render(outputs, prepared.backgrounds), renderer.subject())

    @contextlib.contextmanager
    def _counted_active(self) -> Iterator[None]:
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    async def _run(self, work: Callable[[], _T]) -> _T:
        """Run work on a worker; a cancelled caller is let go only when the worker has finished or given up."""
        if self._threads is None:
            raise InternalError("The imaging room is not open.")
        abandoned = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._threads, watched(work, abandoned))
        return await outlast_cancellation(future, abandoned)


def _available_formats(settings: ImagingSettings) -> frozenset[ImageFormat]:
    """Return the formats that are allowed and have a decoder installed."""
    if ImageFormat.HEIC in settings.formats and not register_heif():
        return settings.formats - {ImageFormat.HEIC}
    return settings.formats
