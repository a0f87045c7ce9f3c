# SPDX-License-Identifier: Apache-2.0
"""What is known of a photo before it is decoded, and how much memory it will need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import OutputSpec
from matting_gateway.imaging.headers.model import FileHeader
from matting_gateway.imaging.memory import working_bytes


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
        backgrounds = tuple(self.backgrounds.values())
        size = self.width_px, self.height_px
        return working_bytes(*size, self.file, backgrounds, outputs, model_input, exact=self.exact)
