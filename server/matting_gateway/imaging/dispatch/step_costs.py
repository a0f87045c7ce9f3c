# SPDX-License-Identifier: Apache-2.0
"""How long a worker is busy with a step of a photo, learned by what is done and how large it is. Pure."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matting_gateway.domain.photo import FileEncoding, OutputSpec
from matting_gateway.imaging.header import PhotoHeader
from matting_gateway.imaging.photo_job import Step
from matting_gateway.imaging.plan import needs_color

# What a step takes of the smallest photo, in pixels that take as long.
_FIXED_PIXELS = 200_000
_GAIN = 0.2  # what one step counts among those before it
_MEAN_GAIN = 0.05  # and in the mean of all photos
# One step that took far longer is an accident, and many of them are a change.
_MOST_AT_ONCE = 2.0
# What is known of a kind is half as much after so long without any of it, so that no slow minute is believed for good.
_HALVED_S = 5.0
_MAX_KINDS = 256


class StepKind(NamedTuple):
    """What makes steps alike but for their photos' sizes."""

    step: Step
    what: Hashable


def decode_kind(header: PhotoHeader, outputs: Sequence[OutputSpec]) -> StepKind:
    """Return of which kind it is to decode a photo."""
    return StepKind(Step.DECODE, (header.format, any(map(needs_color, outputs)), len(header.backgrounds)))


def render_kind(outputs: Sequence[OutputSpec]) -> StepKind:
    """Return of which kind it is to make results."""
    return StepKind(
        Step.RENDER,
        tuple(
            (
                output.kind,
                output.encoding.mime_type if isinstance(output.encoding, FileEncoding) else "",
                isinstance(output.encoding, FileEncoding) and output.encoding.lossless,
                output.refinement,
                output.decontamination,
                output.max_side_px,
            )
            for output in outputs
        ),
    )


@dataclass(frozen=True, slots=True)
class _Rate:
    s_per_pixel: float
    seen_s: float


class StepCosts:
    """Owns what was seen of each kind of step of late, the kinds seen last at the end, and the mean of all.

    Invariant: asking changes nothing.
    """

    __slots__ = ("_by_kind", "_by_step", "_counts", "_means_s")

    def __init__(self) -> None:
        self._by_kind: OrderedDict[StepKind, _Rate] = OrderedDict()
        self._by_step: dict[Step, _Rate] = {}
        self._means_s = dict.fromkeys(Step, 0.0)
        self._counts = dict.fromkeys(Step, 0)

    @property
    def photo_s(self) -> float:
        """Seconds of one worker for all steps of a photo as they come of late; 0.0 while none was done."""
        return sum(self._means_s.values())

    def expected_s(self, kind: StepKind, pixel_count: int, now_s: float) -> float:
        """Return how long a step will take; 0.0 while nothing like it was seen."""
        rate = self._by_kind.get(kind) or self._by_step.get(kind.step)
        if rate is None:
            return 0.0
        known: float = 0.5 ** (max(0.0, now_s - rate.seen_s) / _HALVED_S)
        return known * rate.s_per_pixel * (pixel_count + _FIXED_PIXELS)

    def note(self, kind: StepKind, pixel_count: int, seconds: float, now_s: float) -> None:
        """Learn of one step that was done: a worker was busy with it for so long."""
        s_per_pixel = seconds / (pixel_count + _FIXED_PIXELS)
        self._by_kind[kind] = _learned(self._by_kind.pop(kind, None), s_per_pixel, now_s)
        if len(self._by_kind) > _MAX_KINDS:
            self._by_kind.popitem(last=False)
        self._by_step[kind.step] = _learned(self._by_step.get(kind.step), s_per_pixel, now_s)
        self._counts[kind.step] += 1
        gain = max(_MEAN_GAIN, 1 / self._counts[kind.step])
        self._means_s[kind.step] += gain * (seconds - self._means_s[kind.step])

    def __repr__(self) -> str:
        return f"<StepCosts of {len(self._by_kind)} kinds>"


def _learned(rate: _Rate | None, s_per_pixel: float, now_s: float) -> _Rate:
    if rate is None:
        return _Rate(s_per_pixel, now_s)
    counted = min(s_per_pixel, _MOST_AT_ONCE * rate.s_per_pixel)
    return _Rate(rate.s_per_pixel + _GAIN * (counted - rate.s_per_pixel), now_s)
