# SPDX-License-Identifier: Apache-2.0
"""Pure conversions between the public contract's messages and the domain."""

from collections.abc import Mapping
from typing import Any, TypeVar

from matting.v1 import matting_service_pb2 as pb
from open_inference.tensors import Buffer

from matting_gateway.domain.job import Priority
from matting_gateway.domain.model import ModelContract
from matting_gateway.domain.photo import (
    BackgroundFit,
    ColorBackground,
    CropSpec,
    Decontamination,
    EncodedPhoto,
    FileEncoding,
    MattingRequest,
    OutputKind,
    OutputSpec,
    Photo,
    PictureBackground,
    PixelFormat,
    RawEncoding,
    RawPhoto,
    Refinement,
)
from matting_gateway.errors import OptionInvalidError, OptionUnsupportedError

MAX_OUTPUT_COUNT = 16
_T = TypeVar("_T")

_PIXEL_FORMATS = {pb.PixelFormat.Value(f"PIXEL_FORMAT_{f.name}"): f for f in PixelFormat}
_PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb.PRIORITY_LOW: Priority.LOW,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_HIGH: Priority.HIGH,
}
_KINDS = {
    pb.OUTPUT_KIND_UNSPECIFIED: OutputKind.ALPHA,
    pb.OUTPUT_KIND_ALPHA: OutputKind.ALPHA,
    pb.OUTPUT_KIND_CUTOUT: OutputKind.CUTOUT,
    pb.OUTPUT_KIND_COMPOSITE: OutputKind.COMPOSITE,
}
_REFINEMENTS = {
    pb.REFINEMENT_UNSPECIFIED: Refinement.NONE,
    pb.REFINEMENT_NONE: Refinement.NONE,
    pb.REFINEMENT_GUIDED: Refinement.GUIDED,
    pb.REFINEMENT_MATTING: Refinement.MATTING,
}
_DECONTAMINATIONS = {
    pb.DECONTAMINATION_UNSPECIFIED: Decontamination.NONE,
    pb.DECONTAMINATION_NONE: Decontamination.NONE,
    pb.DECONTAMINATION_BLUR_FUSION: Decontamination.BLUR_FUSION,
}
_FITS = {
    pb.BACKGROUND_FIT_UNSPECIFIED: BackgroundFit.COVER,
    pb.BACKGROUND_FIT_COVER: BackgroundFit.COVER,
    pb.BACKGROUND_FIT_CONTAIN: BackgroundFit.CONTAIN,
    pb.BACKGROUND_FIT_STRETCH: BackgroundFit.STRETCH,
}


def request_from(message: pb.RemoveBackgroundRequest, photo: Buffer | None = None) -> MattingRequest:
    """Return the domain's request; `photo` is what was cut out of the message, where it is not in it.

    Raises:
        OptionInvalidError: A field is missing or has no such value.
        OptionUnsupportedError: An enum value that this server does not know.
    """
    if len(message.outputs) > MAX_OUTPUT_COUNT:
        raise OptionInvalidError(
            f"{len(message.outputs)} outputs are asked for; at most {MAX_OUTPUT_COUNT} are served.", field="outputs"
        )
    outputs = tuple(_output_from(spec, f"outputs[{index}]") for index, spec in enumerate(message.outputs))
    return MattingRequest(
        photo=_photo_from(message, photo),
        outputs=outputs or (OutputSpec(),),
        model=message.model.name,
        version=message.model.version,
        priority=_known(_PRIORITIES, message.priority, "priority"),
    )


def _known(table: Mapping[Any, _T], number: int, field: str) -> _T:
    value = table.get(number)
    if value is None:
        raise OptionUnsupportedError(
            f"Value {number} of {field} is not served; use one of {sorted(table)}.", field=field
        )
    return value


def _photo_from(message: pb.RemoveBackgroundRequest, photo: Buffer | None) -> Photo:
    which = message.WhichOneof("source")
    if which == "encoded":
        return _encoded_from(message.encoded, "encoded", photo)
    if which == "pixels":
        pixels = message.pixels
        if pixels.pixel_format == pb.PIXEL_FORMAT_UNSPECIFIED:
            raise OptionInvalidError("pixels.pixel_format must be set.", field="pixels.pixel_format")
        pixel_format = _known(_PIXEL_FORMATS, pixels.pixel_format, "pixels.pixel_format")
        return RawPhoto(pixels.data if photo is None else photo, pixels.width_px, pixels.height_px, pixel_format)
    raise OptionInvalidError("The request has no photo: set `encoded` or `pixels`.", field="source")


def _encoded_from(message: pb.EncodedImage, field: str, cut_out: Buffer | None = None) -> EncodedPhoto:
    content: Buffer = message.content if cut_out is None else cut_out
    if not content:
        raise OptionInvalidError(f"{field}.content is empty; send the bytes of a file.", field=f"{field}.content")
    return EncodedPhoto(content, message.mime_type)


def _output_from(spec: pb.OutputSpec, field: str) -> OutputSpec:
    return OutputSpec(
        kind=_known(_KINDS, spec.kind, f"{field}.kind"),
        encoding=_encoding_from(spec, field),
        refinement=_known(_REFINEMENTS, spec.refinement, f"{field}.refinement"),
        decontamination=_known(_DECONTAMINATIONS, spec.decontamination, f"{field}.decontamination"),
        background=_background_from(spec, field),
        crop=CropSpec(spec.crop.margin_share) if spec.HasField("crop") else None,
        max_side_px=spec.max_side_px,
        model_grid=spec.model_grid,
    )


def _encoding_from(spec: pb.OutputSpec, field: str) -> FileEncoding | RawEncoding:
    which = spec.WhichOneof("encoding")
    if which == "raw":
        number = spec.raw.pixel_format
        if number == pb.PIXEL_FORMAT_UNSPECIFIED:
            return RawEncoding()
        return RawEncoding(_known(_PIXEL_FORMATS, number, f"{field}.raw.pixel_format"))
    if which == "encoded":
        encoded = spec.encoded
        return FileEncoding(encoded.mime_type or "image/png", encoded.quality or None, encoded.lossless)
    return FileEncoding()


def _background_from(spec: pb.OutputSpec, field: str) -> ColorBackground | PictureBackground | None:
    which = spec.WhichOneof("background")
    if which == "color":
        return ColorBackground(spec.color.red, spec.color.green, spec.color.blue)
    if which == "image":
        photo = _encoded_from(spec.image.encoded, f"{field}.image.encoded")
        fit = _known(_FITS, spec.image.fit, f"{field}.image.fit")
        return PictureBackground(photo, fit, spec.image.linear_light)
    return None


def model_to(model: ModelContract, *, default: bool) -> pb.Model:
    """Return the public description of a model."""
    matting = model.matting
    return pb.Model(
        name=model.name,
        versions=model.versions,
        default=default,
        max_batch_size=max(1, model.max_batch_size),
        input_width_px=max(0, matting.width_px) if matting else 0,
        input_height_px=max(0, matting.height_px) if matting else 0,
        license=model.parameters.get("matting_license", ""),
        noncommercial=model.parameters.get("matting_noncommercial", "false") == "true",
        instances=[
            pb.ModelInstance(
                backend=i.backend,
                device=i.device,
                engine=i.engine,
                precision=i.precision,
                instance_count=i.instance_count,
            )
            for i in model.instances
        ],
    )
