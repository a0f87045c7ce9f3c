# SPDX-License-Identifier: Apache-2.0
"""What can be asked for, and how it becomes a request."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, cast, get_args

from matting.v1 import matting_service_pb2 as pb

from matting_client.formats import FileFormat, media_type
from matting_client.pixel_arrays import layout_of, picture_rows, rows_of, to_array, to_picture

if TYPE_CHECKING:
    from PIL import Image

    from matting_client.pixel_arrays import AnyArray

Kind: TypeAlias = Literal["alpha", "cutout", "composite"]
PixelFormat: TypeAlias = Literal["gray8", "rgb8", "bgr8", "rgba8", "gray16", "rgb16", "rgba16"]
Priority: TypeAlias = Literal["low", "normal", "high"]
Fit: TypeAlias = Literal["cover", "contain", "stretch"]
Refinement: TypeAlias = Literal["none", "guided", "matting"]
Color: TypeAlias = tuple[int, int, int]

REFINEMENTS: tuple[Refinement, ...] = get_args(Refinement)

# The contract's numbers of all these names.
_KINDS: dict[str, pb.OutputKind] = {name: getattr(pb, f"OUTPUT_KIND_{name.upper()}") for name in get_args(Kind)}
_PIXEL_FORMATS: dict[str, pb.PixelFormat] = {
    name: getattr(pb, f"PIXEL_FORMAT_{name.upper()}") for name in get_args(PixelFormat)
}
_REFINEMENTS: dict[Refinement, pb.Refinement] = {
    name: getattr(pb, f"REFINEMENT_{name.upper()}") for name in REFINEMENTS
}
_PRIORITIES: dict[str, pb.Priority] = {name: getattr(pb, f"PRIORITY_{name.upper()}") for name in get_args(Priority)}
_FITS: dict[str, pb.BackgroundFit] = {name: getattr(pb, f"BACKGROUND_FIT_{name.upper()}") for name in get_args(Fit)}
REFINEMENT_NAMES: dict[int, Refinement] = {number: name for name, number in _REFINEMENTS.items()}
PIXEL_FORMAT_NAMES = {number: name for name, number in _PIXEL_FORMATS.items()}


@dataclass(frozen=True, slots=True, repr=False)
class Pixels:
    """A photo or a result as rows of pixels, top to bottom, without padding; 16-bit samples little-endian."""

    data: bytes
    width_px: int
    height_px: int
    pixel_format: PixelFormat

    def __repr__(self) -> str:
        return f"<Pixels {self.width_px}x{self.height_px} {self.pixel_format}>"

    @classmethod
    def from_numpy(cls, array: "AnyArray", pixel_format: PixelFormat | None = None) -> Self:
        """Take the pixels of an array, uint8 or uint16.

        Args:
            array: [height, width] or [height, width, 1] is gray, [height, width, 3] RGB, [height, width, 4] RGBA.
            pixel_format: Named where the shape does not tell: "bgr8", as OpenCV has it.

        Raises:
            ValueError: The array has another shape or type.
        """
        found = cast("PixelFormat", layout_of(array, pixel_format))
        return cls(rows_of(array), array.shape[1], array.shape[0], found)

    @classmethod
    def from_pil(cls, image: "Image.Image") -> Self:
        """Take the pixels of a Pillow picture as they lie: neither turned by its EXIF nor brought to sRGB.

        Gray, 16-bit gray, RGB and RGBA stay what they are; a palette, CMYK and the like become RGB, or RGBA where
        they have transparency. (A photo's file is better sent as it is: it is smaller, and the server does all that.)

        Raises:
            ValueError: Its samples are 32 bits or floating point.
        """
        data, found = picture_rows(image)
        return cls(data, image.width, image.height, cast("PixelFormat", found))

    def to_numpy(self) -> "AnyArray":
        """Return an array, uint8 or uint16, [height, width] or [height, width, samples]; samples in their order.

        Raises:
            ImportError: numpy is not installed: `[pixels]` brings it.
            ValueError: The rows are not as they say, or of a format newer than this client.
        """
        return to_array(self.data, self.width_px, self.height_px, self.pixel_format)

    def to_pil(self) -> "Image.Image":
        """Return a Pillow picture.

        Raises:
            ImportError: Pillow is not installed: `[pixels]` brings it.
            ValueError: The rows are not as they say, or of 16-bit colour, which Pillow has not.
        """
        return to_picture(self.data, self.width_px, self.height_px, self.pixel_format)


# A photo: the bytes of a file, a path to one, or raw pixels.
Photo: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | Pixels


@dataclass(frozen=True, slots=True, repr=False)
class BackgroundPicture:
    """A picture to put behind the subject, brought to the photo's size by `fit`."""

    picture: bytes
    fit: Fit = "cover"
    linear_light: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One result wanted.

    Attributes:
        kind: The alpha alone, the subject with its alpha, or the subject over another background.
        encoding: A file format, or a pixel format for raw rows.
        quality: Of a lossy encoding, 1 to 100; 0 is the server's default.
        lossless: Write WebP without loss.
        refine: Sharpen the alpha's edge on the photo: by a guided filter ("guided", or True), or solved for
            ("matting").
        decontaminate: Take background colour out of the soft edge; cutout and composite only.
        background: A colour in sRGB or a picture; composite only, where it must be given.
        crop_margin_share: Cut to the subject, with room around it as a share of its longer side,
            0 to 1. None: not cut.
        max_side_px: Scale down so that neither side is longer; 0: the photo's own size.
        model_grid: The alpha as the model made it, at the size of its grid and without the photo's own alpha; an
            alpha without any of refine, crop_margin_share and max_side_px only.
    """

    kind: Kind = "alpha"
    encoding: FileFormat | PixelFormat = "png"
    quality: int = 0
    lossless: bool = False
    refine: bool | Refinement = False
    decontaminate: bool = False
    background: Color | BackgroundPicture | None = None
    crop_margin_share: float | None = None
    max_side_px: int = 0
    model_grid: bool = False

    @property
    def refinement(self) -> Refinement:
        """How the edge is sharpened, by name."""
        if isinstance(self.refine, bool):
            return "guided" if self.refine else "none"
        return self.refine

    def message(self) -> pb.OutputSpec:
        """Write it as the contract's message."""
        spec = pb.OutputSpec(kind=_KINDS[self.kind], max_side_px=self.max_side_px, model_grid=self.model_grid)
        if self.encoding in _PIXEL_FORMATS:
            spec.raw.pixel_format = _PIXEL_FORMATS[self.encoding]
        else:
            spec.encoded.mime_type = media_type(self.encoding)
            spec.encoded.quality = self.quality
            spec.encoded.lossless = self.lossless
        if self.refinement != "none":
            spec.refinement = _REFINEMENTS[self.refinement]
        if self.decontaminate:
            spec.decontamination = pb.DECONTAMINATION_BLUR_FUSION
        if isinstance(self.background, BackgroundPicture):
            spec.image.encoded.content = self.background.picture
            spec.image.fit = _FITS[self.background.fit]
            spec.image.linear_light = self.background.linear_light
        elif self.background is not None:
            red, green, blue = self.background
            spec.color.CopyFrom(pb.Color(red=red, green=green, blue=blue))
        if self.crop_margin_share is not None:
            spec.crop.CopyFrom(pb.Crop(margin_share=self.crop_margin_share))
        return spec


def build_request(
    photo: Photo,
    outputs: Sequence[OutputSpec] = (),
    *,
    model: str = "",
    version: str = "",
    priority: Priority = "normal",
) -> pb.RemoveBackgroundRequest:
    """Write a request; a path is read here.

    Raises:
        OSError: The file cannot be read.
    """
    request = pb.RemoveBackgroundRequest(outputs=[output.message() for output in outputs])
    if priority != "normal":
        request.priority = _PRIORITIES[priority]
    if model or version:
        request.model.CopyFrom(pb.ModelRef(name=model, version=version))
    if isinstance(photo, Pixels):
        request.pixels.CopyFrom(
            pb.PixelImage(
                data=photo.data,
                width_px=photo.width_px,
                height_px=photo.height_px,
                pixel_format=_PIXEL_FORMATS[photo.pixel_format],
            )
        )
    elif isinstance(photo, str | os.PathLike):
        request.encoded.content = Path(photo).read_bytes()
    else:
        request.encoded.content = bytes(photo)
    return request
