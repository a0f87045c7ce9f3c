# SPDX-License-Identifier: Apache-2.0
"""Whether the results asked for make sense; asked before any work is done."""

from collections.abc import Sequence

from matting_gateway.domain.photo import (
    ColorBackground,
    Decontamination,
    FileEncoding,
    OutputKind,
    OutputSpec,
    PixelFormat,
    RawEncoding,
    Refinement,
)
from matting_gateway.errors import OptionInvalidError, OptionUnsupportedError
from matting_gateway.imaging.media_types import JPEG, MIME_TYPES, PNG, WEBP

_RAW_FORMATS = {
    OutputKind.ALPHA: (PixelFormat.GRAY8, PixelFormat.GRAY16),
    OutputKind.CUTOUT: (PixelFormat.RGBA8, PixelFormat.RGBA16),
    OutputKind.COMPOSITE: (PixelFormat.RGB8, PixelFormat.BGR8, PixelFormat.RGB16),
}


def check_outputs(outputs: Sequence[OutputSpec], max_outputs: int) -> None:
    """Check every option of every result.

    Raises:
        OptionInvalidError: A value outside its range, or options that contradict one another.
        OptionUnsupportedError: An encoding that this server does not write.
    """
    if not outputs:
        raise OptionInvalidError("At least one output must be asked for.", field="outputs")
    if len(outputs) > max_outputs:
        raise OptionInvalidError(
            f"{len(outputs)} outputs are asked for; at most {max_outputs} can be made of one photo.", field="outputs"
        )
    for index, output in enumerate(outputs):
        _check_output(output, f"outputs[{index}]")


def _check_output(output: OutputSpec, path: str) -> None:
    if isinstance(output.encoding, RawEncoding):
        _check_raw(output.kind, output.encoding, path)
    else:
        _check_file(output.kind, output.encoding, path)
    if output.max_side_px < 0:
        raise OptionInvalidError(
            f"max_side_px is {output.max_side_px}; it must be 0 (no limit) or positive.", field=f"{path}.max_side_px"
        )
    if output.crop is not None and not 0.0 <= output.crop.margin_share <= 1.0:
        raise OptionInvalidError("margin_share must be from 0 to 1.", field=f"{path}.crop.margin_share")
    if output.decontamination is not Decontamination.NONE and output.kind is OutputKind.ALPHA:
        raise OptionInvalidError(
            "Decontamination changes colours, and an alpha has none: use it with a cutout or a composite.",
            field=f"{path}.decontamination",
        )
    _check_background(output, path)
    if output.model_grid:
        _check_model_grid(output, path)


def _check_model_grid(output: OutputSpec, path: str) -> None:
    changes = output.refinement is not Refinement.NONE or output.crop is not None or output.max_side_px
    if output.kind is not OutputKind.ALPHA or changes:
        raise OptionInvalidError(
            "model_grid returns the alpha as the model made it: ask for kind ALPHA, without refinement, crop and "
            "max_side_px, which are left to whoever gets it.",
            field=f"{path}.model_grid",
        )


def _check_raw(kind: OutputKind, encoding: RawEncoding, path: str) -> None:
    possible = _RAW_FORMATS[kind]
    if encoding.pixel_format is not None and encoding.pixel_format not in possible:
        names = ", ".join(pixel_format.name for pixel_format in possible)
        raise OptionInvalidError(
            f"{encoding.pixel_format.name} cannot hold a result of kind {kind.value}; possible are {names}.",
            field=f"{path}.raw.pixel_format",
        )


def _check_file(kind: OutputKind, encoding: FileEncoding, path: str) -> None:
    mime_type = encoding.mime_type
    if mime_type not in MIME_TYPES:
        raise OptionUnsupportedError(
            f"This media type is not written here; possible are {', '.join(MIME_TYPES)}.",
            field=f"{path}.encoded.mime_type",
        )
    if mime_type == JPEG and kind is OutputKind.CUTOUT:
        raise OptionInvalidError(
            "JPEG has no alpha, which a cutout needs: ask for PNG, WebP or AVIF, or for a composite.",
            field=f"{path}.encoded.mime_type",
        )
    if encoding.quality is not None and not 1 <= encoding.quality <= 100:
        raise OptionInvalidError(
            f"quality is {encoding.quality}; it must be 1 to 100, or unset for the default.",
            field=f"{path}.encoded.quality",
        )
    if encoding.lossless and mime_type not in (PNG, WEBP):
        raise OptionInvalidError(
            f"{mime_type} is never written without loss here: ask for PNG or WebP.", field=f"{path}.encoded.lossless"
        )


def _check_background(output: OutputSpec, path: str) -> None:
    if output.kind is not OutputKind.COMPOSITE:
        if output.background is not None:
            raise OptionInvalidError("A background belongs to a composite only.", field=f"{path}.background")
        return
    if output.background is None:
        raise OptionInvalidError("A composite needs a background: a colour or an image.", field=f"{path}.background")
    if isinstance(output.background, ColorBackground):
        for name in ("red", "green", "blue"):
            value = getattr(output.background, name)
            if not 0 <= value <= 255:
                raise OptionInvalidError(f"{name} is {value}; it must be 0 to 255.", field=f"{path}.color.{name}")
