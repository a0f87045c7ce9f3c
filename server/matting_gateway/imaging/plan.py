# SPDX-License-Identifier: Apache-2.0
"""How much of a photo has to be decoded for the results wanted, as a pure decision."""

from collections.abc import Sequence
from dataclasses import dataclass

from matting_pixels.placement import Placement, keep_aspect, letterbox, stretch

from matting_gateway.domain.model import Fit, ModelInput
from matting_gateway.domain.photo import OutputKind, OutputSpec, Refinement
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader

# Decoded sides are at least so many times the model's, so that scaled decoding costs it nothing.
_HEADROOM = 2
_DECODER_FIXED_BYTES = 128 << 20
_JPEG_REDUCTIONS = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """What to make of one file.

    Attributes:
        header: What the file says of itself.
        placement: Where the photo goes in the model's input; None for a background picture.
        reduction: The file is decoded at 1/1, 1/2, 1/4 or 1/8 of its size.
        keep_color: Whether the decoded colour is wanted besides the model's input.
        exact: Resize with Pillow's Lanczos for the model.
        max_profile_bytes: The most that an embedded profile may unpack to.
    """

    header: FileHeader
    placement: Placement | None
    reduction: int
    keep_color: bool
    exact: bool
    max_profile_bytes: int

    @property
    def width_px(self) -> int:
        """Width of the decoded colour, oriented."""
        return -(-oriented_size(self.header)[0] // self.reduction)

    @property
    def height_px(self) -> int:
        """Height of the decoded colour, oriented."""
        return -(-oriented_size(self.header)[1] // self.reduction)


def decoder_memory_bytes(plan: DecodePlan) -> int:
    """Return how far a decoder may grow for one file: several times what honest files need."""
    header = plan.header
    sample_bytes = 2 if header.bits_per_sample > 8 else 1
    area = header.width_px * header.height_px // (plan.reduction * plan.reduction)
    return _DECODER_FIXED_BYTES + 16 * area * sample_bytes + 2 * header.coefficient_bytes


def oriented_size(header: FileHeader) -> tuple[int, int]:
    """Return width and height as shown."""
    if header.orientation >= 5:
        return header.height_px, header.width_px
    return header.width_px, header.height_px


def place(width_px: int, height_px: int, model_input: ModelInput) -> Placement:
    """Return where a photo of this size lies in the model's input."""
    if model_input.fit is Fit.LETTERBOX:
        grid = (model_input.width_px, model_input.height_px)
        return letterbox(width_px, height_px, *grid, top_left=model_input.top_left)
    if model_input.fit is Fit.ASPECT:
        short = min(side for side in (model_input.width_px, model_input.height_px) if side > 0)
        return keep_aspect(width_px, height_px, short, model_input.multiple_px)
    return stretch(model_input.width_px, model_input.height_px)


def needs_color(output: OutputSpec) -> bool:
    """Whether a result is made from the photo's own pixels and not from the alpha alone."""
    return output.kind is not OutputKind.ALPHA or output.refinement is not Refinement.NONE


def plan_decode(
    header: FileHeader, placement: Placement, outputs: Sequence[OutputSpec], *, exact: bool, max_profile_bytes: int
) -> DecodePlan:
    """Decide at which scale a photo is decoded, and whether its colour is kept."""
    wanting = [output for output in outputs if needs_color(output)]
    width, height = oriented_size(header)
    need_width, need_height = float(_HEADROOM * placement.width_px), float(_HEADROOM * placement.height_px)
    if exact or any(output.crop or not output.max_side_px for output in wanting):
        need_width, need_height = width, height
    for output in wanting:
        scale = min(1.0, output.max_side_px / max(width, height)) if output.max_side_px else 1.0
        need_width, need_height = max(need_width, width * scale), max(need_height, height * scale)
    reduction = 1
    if header.format is ImageFormat.JPEG and header.sample_count in (1, 3):
        fitting = (by for by in _JPEG_REDUCTIONS if -(-width // by) >= need_width and -(-height // by) >= need_height)
        reduction = next(fitting, 1)
    return DecodePlan(header, placement, reduction, bool(wanting), exact, max_profile_bytes)
