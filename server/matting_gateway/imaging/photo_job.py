# SPDX-License-Identifier: Apache-2.0
"""What the gateway tells its imaging workers of one call, and where all of it lies in the call's file."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from matting_pixels.placement import Placement

from matting_gateway.domain.photo import (
    EncodedPhoto,
    FileEncoding,
    OutputKind,
    OutputSpec,
    PictureBackground,
    PixelFormat,
)
from matting_gateway.imaging.plan import DecodePlan, needs_color

REQUEST_BYTES, ANSWER_BYTES = 1 << 17, 1 << 13
# The first byte of a call's file: not 0 once nobody waits for its results any more.
ABANDONED_OFFSET = 0
_PAGE_BYTES = 4096
# No file is so many times larger than its pixels, whichever writer packs noise; and room for the rest of it.
_FILE_TO_PIXELS = 3
_FILE_FIXED_BYTES = 64 << 10


class Step(IntEnum):
    """What a worker is to do, the more urgent first: who is rendered is nearly done, and holds the most memory."""

    RENDER = 0
    DECODE = 1


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the call's file."""

    offset: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class RawPlan:
    """What to make of rows of pixels; the attributes are those of `DecodePlan`."""

    width_px: int
    height_px: int
    pixel_format: PixelFormat
    placement: Placement
    keep_color: bool
    exact: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a call: the photo, or what goes behind it.

    Attributes:
        plan: What to make of it.
        content: The file, or the rows of pixels.
        color: Where its colour is kept from decoding to rendering.
        alpha: Where its own alpha is kept.
    """

    plan: DecodePlan | RawPlan
    content: Span
    color: Span
    alpha: Span


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """All that workers are told of one call.

    Attributes:
        width_px: Width of the photo as shown.
        height_px: Height of the photo as shown.
        photo: The photo.
        backgrounds: The picture behind an output, by the output's index.
        outputs: What is wanted, background pictures' files left out.
        placement: Where the photo lies in the model's input.
        model: The model's input, uint8 RGB [grid height, grid width, 3].
        matte: The model's answer, uint8 [grid height, grid width].
        results: Room for all results.
        exact: Resize with Pillow's Lanczos.
        default_quality: Of a lossy file whose quality is not said.
    """

    width_px: int
    height_px: int
    photo: Picture
    backgrounds: Mapping[int, Picture]
    outputs: tuple[OutputSpec, ...]
    placement: Placement
    model: Span
    matte: Span
    results: Span
    exact: bool
    default_quality: int

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return (self.photo, *self.backgrounds.values())

    @property
    def total_bytes(self) -> int:
        """Length of the call's file."""
        return self.results.offset + self.results.byte_count


@dataclass(frozen=True, slots=True)
class Kept:
    """What a worker said of a picture that it decoded: whether it has 16 bits a sample, and an alpha of its own."""

    deep: bool
    alpha: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One message to a worker, beside the descriptor of the call's file.

    Attributes:
        step: What to do.
        memory_bytes: How far the address space may grow.
        timeout_s: After so many whole seconds the process ends itself, should the gateway be gone by then.
        job: A pickled `PhotoJob`: the same in both steps.
        kept: For rendering, what decoding said of each picture.
    """

    step: Step
    memory_bytes: int
    timeout_s: int
    job: bytes
    kept: tuple[Kept, ...] = ()

    def packed(self) -> bytes:
        return pickle.dumps(
            (int(self.step), self.memory_bytes, self.timeout_s, self.job, [(k.deep, k.alpha) for k in self.kept])
        )

    @staticmethod
    def unpacked(message: bytes) -> "Request":
        """Return what the gateway packed; for its workers alone, which trust it."""
        step, memory_bytes, timeout_s, job, kept = pickle.loads(message)  # noqa: S301 - the gateway's own
        return Request(Step(step), memory_bytes, timeout_s, job, tuple(Kept(*flags) for flags in kept))


class Layout:
    """Gives out the parts of a call's file one after another, each on pages of its own."""

    def __init__(self) -> None:
        self._end = _PAGE_BYTES

    def take(self, byte_count: int) -> Span:
        span = Span(self._end, byte_count)
        self._end += -(-byte_count // _PAGE_BYTES) * _PAGE_BYTES
        return span

    def picture(self, plan: DecodePlan | RawPlan, content_bytes: int) -> Picture:
        content = self.take(content_bytes)
        if isinstance(plan, RawPlan):
            # They are kept as they came.
            return Picture(plan, content, Span(0, 0), Span(0, 0))
        sample_bytes = 2 if plan.header.bits_per_sample > 8 else 1
        area = plan.width_px * plan.height_px * sample_bytes
        color = self.take(3 * area if plan.keep_color else 0)
        return Picture(plan, content, color, self.take(area if plan.header.has_alpha else 0))


def without_pictures(outputs: Sequence[OutputSpec]) -> tuple[OutputSpec, ...]:
    """Return the outputs without the files of their background pictures."""
    return tuple(
        replace(output, background=replace(output.background, photo=EncodedPhoto(b"")))
        if isinstance(output.background, PictureBackground)
        else output
        for output in outputs
    )


def result_bytes(output: OutputSpec, width_px: int, height_px: int, *, deep: bool) -> int:
    """Return room for a result of a photo of this size that every writer keeps to."""
    samples = {OutputKind.ALPHA: 1, OutputKind.CUTOUT: 4, OutputKind.COMPOSITE: 3}[output.kind]
    scale = min(1.0, output.max_side_px / max(width_px, height_px)) if output.max_side_px else 1.0
    # A side is rounded, by at most one pixel.
    area = (int(width_px * scale) + 1) * (int(height_px * scale) + 1)
    if isinstance(output.encoding, FileEncoding):
        # Two bytes a sample where the photo has them and the colour is kept.
        pixels = area * samples * (2 if deep and needs_color(output) else 1)
        return _FILE_TO_PIXELS * pixels + _FILE_FIXED_BYTES
    return 2 * area * samples
