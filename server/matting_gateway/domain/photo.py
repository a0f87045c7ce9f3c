# SPDX-License-Identifier: Apache-2.0
"""Photos and what is made of them, as frozen values."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from open_inference.tensors import Buffer

from matting_gateway.domain.job import Priority


class PixelFormat(Enum):
    """What a raw pixel is: (samples, bytes a sample). 16-bit samples are little-endian."""

    GRAY8 = ("gray", 1, 1)
    RGB8 = ("rgb", 3, 1)
    BGR8 = ("bgr", 3, 1)
    RGBA8 = ("rgba", 4, 1)
    GRAY16 = ("gray", 1, 2)
    RGB16 = ("rgb", 3, 2)
    RGBA16 = ("rgba", 4, 2)

    @property
    def sample_count(self) -> int:
        return self.value[1]

    @property
    def bytes_per_sample(self) -> int:
        return self.value[2]

    @property
    def bytes_per_pixel(self) -> int:
        return self.sample_count * self.bytes_per_sample


@dataclass(frozen=True, slots=True, repr=False)
class EncodedPhoto:
    """A photo as a file. `mime_type` is a hint; the content decides."""

    content: Buffer
    mime_type: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class RawPhoto:
    """A photo as rows of pixels without padding."""

    data: Buffer
    width_px: int
    height_px: int
    pixel_format: PixelFormat


Photo: TypeAlias = EncodedPhoto | RawPhoto


class OutputKind(Enum):
    """What a result is."""

    ALPHA = "alpha"
    CUTOUT = "cutout"
    COMPOSITE = "composite"


class Refinement(Enum):
    """How an alpha's edge is sharpened on the photo."""

    NONE = "none"
    GUIDED = "guided"
    MATTING = "matting"


class Decontamination(Enum):
    """How background colour is taken out of the soft edge."""

    NONE = "none"
    BLUR_FUSION = "blur_fusion"


class BackgroundFit(Enum):
    """How a background picture is brought to the photo's size."""

    COVER = "cover"
    CONTAIN = "contain"
    STRETCH = "stretch"


@dataclass(frozen=True, slots=True)
class FileEncoding:
    """Write as a file. `quality` 1 to 100, or None for the format's default."""

    mime_type: str = "image/png"
    quality: int | None = None
    lossless: bool = False


@dataclass(frozen=True, slots=True)
class RawEncoding:
    """Write as rows of pixels; None means the kind's natural format."""

    pixel_format: PixelFormat | None = None


@dataclass(frozen=True, slots=True)
class ColorBackground:
    """A colour in sRGB, each 0 to 255."""

    red: int
    green: int
    blue: int


@dataclass(frozen=True, slots=True, repr=False)
class PictureBackground:
    """A picture to put behind the subject."""

    photo: EncodedPhoto
    fit: BackgroundFit = BackgroundFit.COVER
    linear_light: bool = False


@dataclass(frozen=True, slots=True)
class CropSpec:
    """Cut to the subject's box; the margin is a share of its longer side, 0 to 1."""

    margin_share: float = 0.0


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One result wanted.

    `max_side_px` 0 means the photo's own size; `model_grid` is the alpha as the model made it.
    """

    kind: OutputKind = OutputKind.ALPHA
    encoding: FileEncoding | RawEncoding = field(default_factory=FileEncoding)
    refinement: Refinement = Refinement.NONE
    decontamination: Decontamination = Decontamination.NONE
    background: ColorBackground | PictureBackground | None = None
    crop: CropSpec | None = None
    max_side_px: int = 0
    model_grid: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A box in pixels of the oriented photo."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Subject:
    """Where the subject is. `box` is None exactly if none was found."""

    found: bool
    box: Box | None
    area_share: float


@dataclass(frozen=True, slots=True, repr=False)
class RenderedOutput:
    """One result: a file (`mime_type` set) or rows of pixels (`pixel_format` set).

    `refinement` is what was done to its alpha's edge, which may be less than what was asked for.
    """

    data: Buffer
    width_px: int
    height_px: int
    mime_type: str = ""
    pixel_format: PixelFormat | None = None
    refinement: Refinement = Refinement.NONE


@dataclass(frozen=True, slots=True, repr=False)
class MattingRequest:
    """One photo to be cut out. Empty model name: the default model; empty version: the newest."""

    photo: Photo
    outputs: tuple[OutputSpec, ...]
    model: str = ""
    version: str = ""
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True, repr=False)
class MattingAnswer:
    """What became of one photo, and where its time went."""

    outputs: tuple[RenderedOutput, ...]
    subject: Subject
    model: str
    version: str
    queue_s: float
    inference_s: float
