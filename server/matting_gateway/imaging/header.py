# SPDX-License-Identifier: Apache-2.0
"""What is known of a photo before it is decoded, and how much memory it will need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matting_gateway.domain import Decontamination, FileEncoding, ModelInput, OutputSpec, Refinement
from matting_gateway.imaging.encode import AVIF, WEBP
from matting_gateway.imaging.headers.model import FileHeader
from matting_gateway.imaging.plan import needs_color, oriented_size, place, plan_decode

# Room for what does not grow with the photo: strips, grids, a decoder's own tables.
_FIXED_BYTES = 8 << 20
# What libwebp and libaom hold for each pixel while they write, as measured.
_VIDEO_ENCODER_BYTES = 24


@dataclass(frozen=True, slots=True)
class PhotoHeader:
    """A photo that passed all checks on its header.

    Attributes:
        format: The format's name, such as `JPEG`, or `RAW` for rows of pixels.
        width_px: Width as shown, orientation applied.
        height_px: Height as shown.
        file: What the file says of itself; None for raw pixels.
        backgrounds: The header of each output's background picture, by the output's index.
        exact: Whether the room resizes the exact way.
    """

    format: str
    width_px: int
    height_px: int
    file: FileHeader | None = field(default=None, repr=False)
    backgrounds: Mapping[int, FileHeader] = field(default_factory=dict, repr=False)
    exact: bool = field(default=False, repr=False)

    @property
    def pixel_count(self) -> int:
        return self.width_px * self.height_px

    def working_bytes(self, outputs: Sequence[OutputSpec], model_input: ModelInput) -> int:
        """Return the most memory that the photo takes beyond its encoded bytes, results included."""
        placement = place(self.width_px, self.height_px, model_input)
        grid_bytes = 4 * placement.grid_width_px * placement.grid_height_px
        decoded, transient = self._decoding_bytes(outputs, model_input)
        behind = [_file_bytes(header) for header in self.backgrounds.values()]
        rendering = decoded + sum(behind) + sum(self._output_bytes(output) for output in outputs)
        return _FIXED_BYTES + grid_bytes + max(decoded + transient, rendering)

    def _decoding_bytes(self, outputs: Sequence[OutputSpec], model_input: ModelInput) -> tuple[int, int]:
        """Return what stays of the photo until its results are made, and what only decoding needs."""
        if self.file is None:
            return 4 * self.pixel_count, 0
        placement = place(self.width_px, self.height_px, model_input)
        plan = plan_decode(self.file, placement, outputs, exact=self.exact, max_profile_bytes=0)
        sample_bytes = 2 if self.file.bits_per_sample > 8 else 1
        full = plan.width_px * plan.height_px * sample_bytes
        kept = (3 * full if plan.keep_color else 0) + (full if self.file.has_alpha else 0)
        return kept, 3 * full + 4 * full * (plan.reduction == 1) + self.file.coefficient_bytes

    def _output_bytes(self, output: OutputSpec) -> int:
        """Return what making one result needs: its pixels, its alpha, its file."""
        longest = max(self.width_px, self.height_px)
        scale = min(1.0, output.max_side_px / longest) if output.max_side_px else 1.0
        area = int(self.pixel_count * scale * scale)
        sample_bytes = 2 if self.file is not None and self.file.bits_per_sample > 8 else 1
        per_pixel = 2.0
        if needs_color(output):
            per_pixel += 5 * sample_bytes
        if output.refinement is Refinement.GUIDED or output.decontamination is not Decontamination.NONE:
            per_pixel += 3 * sample_bytes
        if isinstance(output.encoding, FileEncoding) and output.encoding.mime_type in (WEBP, AVIF):
            per_pixel += _VIDEO_ENCODER_BYTES
        return int(area * per_pixel)


def _file_bytes(header: FileHeader) -> int:
    width, height = oriented_size(header)
    return 7 * width * height * (2 if header.bits_per_sample > 8 else 1) + header.coefficient_bytes
