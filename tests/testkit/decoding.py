# SPDX-License-Identifier: Apache-2.0
"""The way from a file to prepared pixels, without processes."""

from dataclasses import replace

from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import EncodedPhoto, OutputKind, OutputSpec
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.inspect import read_header
from matting_gateway.imaging.plan import DecodePlan, oriented_size, place, plan_decode
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.imaging.worker.decode import register_heif
from matting_gateway.imaging.worker.prepare import Prepared, prepare_file
from matting_pixels.arrays import Pixels

ALL_FORMATS = frozenset(ImageFormat) if register_heif() else frozenset(ImageFormat) - {ImageFormat.HEIC}
SETTINGS = ImagingSettings(formats=ALL_FORMATS)
CUTOUT = OutputSpec(kind=OutputKind.CUTOUT)


def plan_of(
    content: bytes, output: OutputSpec = CUTOUT, settings: ImagingSettings = SETTINGS, model: ModelInput | None = None
) -> DecodePlan:
    header = read_header(EncodedPhoto(content), settings, settings.formats & ALL_FORMATS)
    if header is None:
        raise ValueError("a file was taken for raw pixels")
    placement = place(*oriented_size(header), model or ModelInput(32, 32))
    return plan_decode(
        header,
        placement,
        (output,),
        exact=settings.exact,
        max_profile_bytes=settings.limits.max_profile_bytes,
    )


def prepared(
    content: bytes, output: OutputSpec = CUTOUT, settings: ImagingSettings = SETTINGS, model: ModelInput | None = None
) -> Prepared:
    """Check, decode and prepare a file as the gateway would.

    Raises:
        GatewayError: Whatever a caller would be told.
    """
    return prepare_file(content, plan_of(content, output, settings, model))


def color_of(result: Prepared) -> Pixels:
    """Return the colour kept, which must be there: two photos of which none was kept would be equal."""
    assert result.color is not None
    return result.color


def allowing_animations() -> ImagingSettings:
    return replace(SETTINGS, allow_animated=True)
