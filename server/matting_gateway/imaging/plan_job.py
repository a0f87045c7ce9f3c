# SPDX-License-Identifier: Apache-2.0
"""A request to what workers are told of it: pure decisions from the headers."""

from collections.abc import Iterator, Sequence

from matting_pixels.placement import Placement
from open_inference.tensors import Buffer

from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import EncodedPhoto, OutputSpec, Photo, PictureBackground
from matting_gateway.errors import InternalError
from matting_gateway.imaging.header import PhotoHeader
from matting_gateway.imaging.photo_job import Layout, PhotoJob, RawPlan, Step, result_bytes, without_pictures
from matting_gateway.imaging.plan import (
    DecodePlan,
    decoder_memory_bytes,
    needs_color,
    place,
    plan_decode,
)
from matting_gateway.imaging.settings import ImagingSettings

_FIXED_BYTES = 128 << 20
_PIXELS_PER_TIMEOUT = 4e6
# Refining and packing a result take many times as long as decoding its photo.
_RESULT_TIMEOUTS = 5


def plan_job(
    photo: Photo, header: PhotoHeader, model_input: ModelInput, outputs: Sequence[OutputSpec], settings: ImagingSettings
) -> PhotoJob:
    """Return what workers are to make of a photo, and where all of it lies in the call's file."""
    placement = place(header.width_px, header.height_px, model_input)
    layout = Layout()
    model = layout.take(3 * placement.grid_width_px * placement.grid_height_px)
    matte = layout.take(placement.grid_width_px * placement.grid_height_px)
    plan = _plan(photo, header, placement, outputs, settings)
    main = layout.picture(plan, _byte_count(photo.content if isinstance(photo, EncodedPhoto) else photo.data))
    backgrounds = {}
    for index, background in header.backgrounds.items():
        picture = outputs[index].background
        if isinstance(picture, PictureBackground):
            behind = DecodePlan(background, None, 1, True, settings.exact, settings.limits.max_profile_bytes)
            backgrounds[index] = layout.picture(behind, _byte_count(picture.photo.content))
    size = header.width_px, header.height_px
    deep = header.file is None or header.file.bits_per_sample > 8
    grid = placement.width_px, placement.height_px
    results = layout.take(
        sum(result_bytes(output, *(grid if output.model_grid else size), deep=deep) for output in outputs)
    )
    return PhotoJob(
        *size,
        main,
        backgrounds,
        without_pictures(outputs),
        placement,
        model,
        matte,
        results,
        settings.exact,
        settings.default_quality,
    )


def contents(job: PhotoJob, photo: Photo, outputs: Sequence[OutputSpec]) -> Iterator[tuple[int, Buffer]]:
    """Yield where in the call's file each picture belongs, as it came."""
    yield job.photo.content.offset, photo.content if isinstance(photo, EncodedPhoto) else photo.data
    for index, picture in job.backgrounds.items():
        background = outputs[index].background
        if isinstance(background, PictureBackground):
            yield picture.content.offset, background.photo.content


def step_memory_bytes(job: PhotoJob, step: Step, working_bytes: int) -> int:
    """Return how far a worker may grow beyond the call's file: several times what honest photos need.

    Args:
        job: The call.
        step: What is done of it.
        working_bytes: What the call reserves.
    """
    if step is Step.RENDER:
        return _FIXED_BYTES + 2 * working_bytes
    plans = [picture.plan for picture in job.pictures]
    files = [decoder_memory_bytes(plan) for plan in plans if isinstance(plan, DecodePlan)]
    return max([*files, _FIXED_BYTES + 2 * working_bytes])


def step_timeout_s(job: PhotoJob, step: Step, base_s: float) -> float:
    """Return how long a worker may take for a step: so much for each picture or result, by its pixels."""
    if step is Step.RENDER:
        return _RESULT_TIMEOUTS * base_s * len(job.outputs) * (1.0 + job.width_px * job.height_px / _PIXELS_PER_TIMEOUT)
    return base_s * sum(1.0 + _area(picture.plan) / _PIXELS_PER_TIMEOUT for picture in job.pictures)


def _plan(
    photo: Photo, header: PhotoHeader, placement: Placement, outputs: Sequence[OutputSpec], settings: ImagingSettings
) -> DecodePlan | RawPlan:
    if not isinstance(photo, EncodedPhoto):
        keep_color = any(needs_color(output) for output in outputs)
        return RawPlan(photo.width_px, photo.height_px, photo.pixel_format, placement, keep_color, settings.exact)
    if header.file is None:
        raise InternalError("A file reached decoding without its header.")
    return plan_decode(
        header.file,
        placement,
        outputs,
        exact=settings.exact,
        max_profile_bytes=settings.limits.max_profile_bytes,
    )


def _area(plan: DecodePlan | RawPlan) -> int:
    if isinstance(plan, RawPlan):
        return plan.width_px * plan.height_px
    return plan.header.width_px * plan.header.height_px


def _byte_count(data: Buffer) -> int:
    return memoryview(data).nbytes
