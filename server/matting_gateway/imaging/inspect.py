# SPDX-License-Identifier: Apache-2.0
"""From the bytes of a photo to what it is, with every limit checked and no decoder run."""

from collections.abc import Sequence
from dataclasses import replace

from open_inference.tensors import Buffer

from matting_gateway.domain.photo import EncodedPhoto, OutputSpec, Photo, PictureBackground, RawPhoto
from matting_gateway.errors import (
    ImageFormatUnsupportedError,
    ImageTooLargeError,
    ImageUnreadableError,
    InternalError,
    OptionInvalidError,
)
from matting_gateway.imaging.formats import ImageFormat, sniff
from matting_gateway.imaging.header import PhotoHeader
from matting_gateway.imaging.headers.bmp import read_bmp_header
from matting_gateway.imaging.headers.gif import read_gif_header
from matting_gateway.imaging.headers.isobmff import read_isobmff_header
from matting_gateway.imaging.headers.jpeg import read_jpeg_header
from matting_gateway.imaging.headers.model import MAX_PARTS, FileHeader, TooManyPartsError
from matting_gateway.imaging.headers.png import read_png_header
from matting_gateway.imaging.headers.tiff import read_tiff_header
from matting_gateway.imaging.headers.webp import read_webp_header
from matting_gateway.imaging.media_types import check_areas
from matting_gateway.imaging.plan import oriented_size
from matting_gateway.imaging.settings import ImageLimits, ImagingSettings

# Those that count all that takes time.
_COUNTING_READERS = {
    ImageFormat.JPEG: read_jpeg_header,
    ImageFormat.PNG: read_png_header,
    ImageFormat.WEBP: read_webp_header,
}
_READERS = {
    ImageFormat.AVIF: lambda content: read_isobmff_header(content, ImageFormat.AVIF),
    ImageFormat.HEIC: lambda content: read_isobmff_header(content, ImageFormat.HEIC),
    ImageFormat.GIF: read_gif_header,
    ImageFormat.TIFF: read_tiff_header,
    ImageFormat.BMP: read_bmp_header,
}


def inspect(
    photo: Photo,
    outputs: Sequence[OutputSpec],
    settings: ImagingSettings,
    formats: frozenset[ImageFormat],
    max_parts: int,
) -> PhotoHeader:
    """Return what the files of a photo and of its background pictures say of themselves.

    Raises:
        OptionInvalidError: An AVIF is wanted that would take too much memory.
        TooManyPartsError, GatewayError: What `read_header` raises.
    """
    file = read_header(photo, settings, formats, max_parts)
    backgrounds: dict[int, FileHeader] = {}
    for index, output in enumerate(outputs):
        if isinstance(output.background, PictureBackground):
            header = read_header(output.background.photo, settings, formats, max_parts)
            if header is not None:
                backgrounds[index] = header
    if file is not None:
        title, size = file.format.title, oriented_size(file)
    elif isinstance(photo, EncodedPhoto):
        raise InternalError("A file was taken for raw pixels.")
    else:
        title, size = "RAW", (photo.width_px, photo.height_px)
    check_areas(outputs, *size)
    return PhotoHeader(title, *size, file, backgrounds, settings.exact)


def read_header(
    photo: Photo, settings: ImagingSettings, formats: frozenset[ImageFormat], max_parts: int = MAX_PARTS
) -> FileHeader | None:
    """Return what the file says of itself, or None for raw pixels.

    Args:
        photo: A file or rows of pixels.
        settings: The limits, and whether animations are taken.
        formats: The formats that are allowed and have a decoder here.
        max_parts: How many parts of the file are looked at; in a hurry that is `FEW_PARTS`.

    Raises:
        TooManyPartsError: It has more parts, or is of a format of which that does not say how long it takes.
        ImageUnreadableError: No image, cut off or damaged.
        ImageFormatUnsupportedError: A format or kind that is not accepted.
        ImageTooLargeError: Over a limit.
        OptionInvalidError: Raw pixels whose length is not what their size says.
    """
    if isinstance(photo, RawPhoto):
        _check_raw(photo, settings.limits)
        return None
    header = _parse(photo, settings.limits, formats, max_parts)
    _check_limits(header, settings.limits, allow_animated=settings.allow_animated)
    return header


def _parse(photo: EncodedPhoto, limits: ImageLimits, formats: frozenset[ImageFormat], max_parts: int) -> FileHeader:
    content: Buffer = photo.content
    if len(content) == 0:
        raise ImageUnreadableError("The photo is empty: send the bytes of an image file.")
    if len(content) > limits.max_encoded_bytes:
        raise ImageTooLargeError(
            f"The file has {len(content):,} bytes; at most {limits.max_encoded_bytes:,} are accepted. "
            "Send a smaller or more strongly compressed file."
        )
    image_format = sniff(content)
    accepted = ", ".join(sorted(known.title for known in formats))
    if image_format is None:
        raise ImageUnreadableError(f"The bytes are no image of a known format. Accepted are {accepted}.")
    if image_format not in formats:
        raise ImageFormatUnsupportedError(f"{image_format.title} is not accepted here. Accepted are {accepted}.")
    if image_format in _COUNTING_READERS:
        header = _COUNTING_READERS[image_format](content, max_parts)
    elif max_parts < MAX_PARTS:
        raise TooManyPartsError(f"How long the headers of {image_format.title} take is not known beforehand.")
    else:
        header = _READERS[image_format](content)
    return replace(header, file_bytes=len(content))


def _check_limits(header: FileHeader, limits: ImageLimits, *, allow_animated: bool) -> None:
    title = header.format.title
    _check_size(header.width_px, header.height_px, limits)
    if header.frame_count > 1 and not allow_animated:
        raise ImageFormatUnsupportedError(
            f"The {title} file has more than one frame, and animations are not accepted: send a single picture."
        )
    for value, limit, what in (
        (header.frame_count, limits.max_frames, "frames"),
        (header.scan_count, limits.max_scans, "scans"),
        (header.metadata_chunks, limits.max_metadata_chunks, "metadata chunks"),
        (header.metadata_bytes, limits.max_metadata_bytes, "bytes of metadata"),
        (sum(end - start for start, end in header.profile_spans), limits.max_profile_bytes, "bytes of colour profile"),
    ):
        if value > limit:
            raise ImageTooLargeError(f"The {title} file has {value:,} {what}; at most {limit:,} are accepted.")


def _check_size(width_px: int, height_px: int, limits: ImageLimits) -> None:
    if width_px < 1 or height_px < 1:
        raise ImageUnreadableError(
            f"The photo is {width_px} by {height_px} pixels: both sides must be at least 1 pixel."
        )
    if max(width_px, height_px) > limits.max_side_px:
        raise ImageTooLargeError(
            f"The photo is {width_px:,} by {height_px:,} pixels; a side may have at most {limits.max_side_px:,}."
        )
    if width_px * height_px > limits.max_pixels:
        raise ImageTooLargeError(
            f"The photo is {width_px:,} by {height_px:,} pixels, which is {width_px * height_px:,}; "
            f"at most {limits.max_pixels:,} are accepted. Scale it down first."
        )


def _check_raw(photo: RawPhoto, limits: ImageLimits) -> None:
    for name, value in (("width_px", photo.width_px), ("height_px", photo.height_px)):
        if value < 1:
            raise OptionInvalidError(f"{name} is {value}; it must be at least 1.", field=f"pixels.{name}")
    _check_size(photo.width_px, photo.height_px, limits)
    expected = photo.width_px * photo.height_px * photo.pixel_format.bytes_per_pixel
    if memoryview(photo.data).nbytes != expected:
        raise OptionInvalidError(
            f"The pixel data has {memoryview(photo.data).nbytes:,} bytes; {photo.width_px} by {photo.height_px} pixels "
            f"of {photo.pixel_format.name} are exactly {expected:,}.",
            field="pixels.data",
        )
