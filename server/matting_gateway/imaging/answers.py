# SPDX-License-Identifier: Apache-2.0
"""What workers answer, checked: a photo that took one over can make it say anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from matting_gateway.domain.photo import Box, FileEncoding, OutputSpec, Refinement, RenderedOutput, Subject
from matting_gateway.errors import (
    GatewayError,
    ImageFormatUnsupportedError,
    ImageTooLargeError,
    ImageUnreadableError,
    InternalError,
    OptionInvalidError,
)
from matting_gateway.imaging.dispatch.call_file import CallFile
from matting_gateway.imaging.media_types import natural_format
from matting_gateway.imaging.photo_job import Kept, PhotoJob

Answer: TypeAlias = Mapping[str, Any]
_MOST_WORDS = 500
_PHOTO_ERRORS: Mapping[str, type[GatewayError]] = {
    error.reason: error
    for error in (ImageUnreadableError, ImageFormatUnsupportedError, ImageTooLargeError, OptionInvalidError)
}


@dataclass(frozen=True, slots=True, repr=False)
class Rendered:
    """The results of one photo, in the order asked; their data are views of the call's file."""

    outputs: tuple[RenderedOutput, ...]
    subject: Subject


def read_decoded(answer: Answer, job: PhotoJob, title: str) -> tuple[Kept, ...]:
    """Return what is kept of each picture.

    Raises:
        GatewayError: What the worker said of the photo.
        ValueError: The answer makes no sense.
    """
    if "reason" in answer:
        raise _error_of(
            answer,
            ImageUnreadableError(f"The {title} file is damaged: it cannot be decoded."),
            ImageTooLargeError(f"The {title} file needs more memory to decode than a photo of its size may."),
        )
    flags = answer.get("kept")
    if not isinstance(flags, list) or len(flags) != len(job.pictures):
        raise ValueError("a worker answered for another number of pictures")
    kept = []
    for pair in flags:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(flag, bool) for flag in pair):
            raise ValueError("a worker answered no flags")
        kept.append(Kept(*pair))
    return tuple(kept)


def read_rendered(answer: Answer, job: PhotoJob, file: CallFile) -> Rendered:
    """Return the results.

    Raises:
        GatewayError: What the worker said of them.
        ValueError: The answer makes no sense.
    """
    if "reason" in answer:
        raise _error_of(
            answer,
            InternalError("The results could not be made."),
            InternalError("The results take more memory than was kept for them."),
        )
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != len(job.outputs):
        raise ValueError("a worker answered another number of results")
    pairs = zip(results, job.outputs, strict=True)
    outputs = tuple(_result(result, output, job, file) for result, output in pairs)
    return Rendered(outputs, _subject(answer))


def _result(result: object, output: OutputSpec, job: PhotoJob, file: CallFile) -> RenderedOutput:
    if not isinstance(result, list) or not result:
        raise ValueError("a worker answered no result")
    refinement = Refinement(result[0])
    offset, byte_count, width_px, height_px = _numbers(result[1:], 4)
    if offset < job.results.offset or offset + byte_count > job.total_bytes:
        raise ValueError("a result lies where none belongs")
    most = job.placement if output.model_grid else job
    if not (1 <= width_px <= most.width_px and 1 <= height_px <= most.height_px):
        raise ValueError("a result is larger than its photo")
    data = file.view(offset, byte_count)
    if isinstance(output.encoding, FileEncoding):
        return RenderedOutput(data, width_px, height_px, mime_type=output.encoding.mime_type, refinement=refinement)
    pixel_format = output.encoding.pixel_format or natural_format(output.kind)
    if byte_count != width_px * height_px * pixel_format.bytes_per_pixel:
        raise ValueError("rows of pixels have another length than their size says")
    return RenderedOutput(data, width_px, height_px, pixel_format=pixel_format, refinement=refinement)


def _subject(answer: Answer) -> Subject:
    box, area_share = answer.get("box"), answer.get("area_share")
    if not isinstance(area_share, float) or not 0.0 <= area_share <= 1.0:
        raise ValueError("a subject's share of the photo is none")
    return Subject(found=box is not None, box=None if box is None else Box(*_numbers(box, 4)), area_share=area_share)


def _numbers(value: object, count: int) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError("a worker answered another number of numbers")
    if any(type(number) is not int or number < 0 for number in value):
        raise ValueError("a worker answered no numbers")
    return tuple(value)


def _error_of(answer: Answer, failed: GatewayError, out_of_memory: GatewayError) -> GatewayError:
    reason, message, field = (answer.get(key) for key in ("reason", "message", "field"))
    if reason == "MEMORY":
        return out_of_memory
    error = _PHOTO_ERRORS.get(str(reason))
    if error is None or not isinstance(message, str):
        return failed
    return error(message[:_MOST_WORDS], field=field if isinstance(field, str) else None)
