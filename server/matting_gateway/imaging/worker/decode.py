# SPDX-License-Identifier: Apache-2.0
"""One file to pixels: the only place where native decoders meet bytes from outside.

simplejpeg reads 8-bit JPEG of one or three components, straight to where the colour is wanted and scaled where
the plan says so. OpenCV reads JPEG that simplejpeg warns of, WebP and PNG of true colour, both in less memory than
Pillow, and 16-bit TIFF, which Pillow cuts to 8 bits. Pillow reads everything else.
"""

import io
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg
from matting_pixels.arrays import Pixels
from open_inference.tensors import Buffer
from PIL import Image

from matting_gateway.errors import ImageFormatUnsupportedError, ImageUnreadableError
from matting_gateway.imaging.color.deep_profile import deep_profile_to_srgb
from matting_gateway.imaging.color.pixels import Decoded, to_8_bit, to_16_bit
from matting_gateway.imaging.color.profile import extract_profile, is_convertible, profile_to_srgb
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader
from matting_gateway.imaging.plan import DecodePlan
from matting_gateway.imaging.worker.canvas import Canvas, PrivateCanvas

_JPEG_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_STRIP_ROWS = 64
# Everything that Pillow's decoders are known to raise on damaged files.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError)

_PRIVATE = PrivateCanvas()
_BYTE = np.dtype(np.uint8)


def set_up_decoders() -> None:
    """Set the libraries' own switches; once in every process that decodes."""
    # Parallelism is photos side by side; the libraries' own threads would only fight over the cores.
    cv2.setNumThreads(1)
    # Headers are checked against the operator's own limits; Pillow's would only be a second, silent one.
    Image.MAX_IMAGE_PIXELS = None
    register_heif()


def register_heif() -> bool:
    """Teach Pillow to read HEIC, if the extra is installed; returns whether it is."""
    try:
        import pillow_heif  # noqa: PLC0415 - an extra, present only where it was asked for
    except ImportError:
        return False
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def decode(content: Buffer, plan: DecodePlan, canvas: Canvas = _PRIVATE) -> Decoded:
    """Decode one file as stored, its orientation not yet applied, into what the canvas makes room for.

    Raises:
        ImageUnreadableError: Cut off or damaged.
        ImageFormatUnsupportedError: Samples that cannot be kept.
        ImageTooLargeError: The colour profile unpacks to too much.
    """
    header = plan.header
    if header.format is ImageFormat.JPEG and header.sample_count in (1, 3):
        return _decode_jpeg(content, plan, canvas)
    if _is_for_opencv(header):
        return _decode_with_opencv(content, plan, canvas)
    return _decode_with_pillow(content, plan, canvas)


def _is_for_opencv(header: FileHeader) -> bool:
    if header.format is ImageFormat.TIFF:
        return header.bits_per_sample == 16 and header.sample_count in (3, 4)
    if header.format is ImageFormat.WEBP:
        return header.frame_count == 1
    if header.format is not ImageFormat.PNG or header.frame_count > 1:
        return False
    # Of 8 bits only what is stored just as it is decoded: no palette, no gray, no colour that stands for transparent.
    is_plain = header.sample_count == 4 or (header.sample_count == 3 and not header.has_alpha)
    return header.bits_per_sample == 16 or is_plain


def _stored_size(plan: DecodePlan) -> tuple[int, int]:
    return -(-plan.header.height_px // plan.reduction), -(-plan.header.width_px // plan.reduction)


def _decode_jpeg(content: Buffer, plan: DecodePlan, canvas: Canvas) -> Decoded:
    height, width = _stored_size(plan)
    color = canvas.color(height, width, _BYTE)
    try:
        simplejpeg.decode_jpeg(content, "RGB", min_height=height, min_width=width, buffer=color)
    except ValueError:
        # It takes every oddity for an error. OpenCV tells the harmless ones from the others.
        flags = _JPEG_FLAGS[plan.reduction] | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = _imdecode(content, flags, plan.header)
        if decoded.shape != color.shape:
            raise _size_differs(plan.header) from None
        if plan.reduction > 1:
            cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, color)
        else:
            np.copyto(color, decoded)
    profile = extract_profile(content, plan.header, plan.max_profile_bytes)
    mode = "L" if plan.header.sample_count == 1 else "RGB"
    if is_convertible(profile, mode):
        profile_to_srgb(color[..., 0] if mode == "L" else color, profile, mode, color)
    return Decoded(color, None)


def _decode_with_opencv(content: Buffer, plan: DecodePlan, canvas: Canvas) -> Decoded:
    header = plan.header
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = _imdecode(_without_animation(content, header), flags, header)
    if pixels.shape[:2] != _stored_size(plan):
        raise _size_differs(header)
    if pixels.ndim == 2:
        return _gray(pixels, header.transparent_gray, canvas)
    height, width, sample_count = pixels.shape
    color = canvas.color(height, width, pixels.dtype)
    alpha = canvas.alpha(height, width, pixels.dtype) if sample_count == 4 else None
    if alpha is None:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, color)
    else:
        cv2.mixChannels([pixels], [color, alpha], [0, 2, 1, 1, 2, 0, 3, 3])
    profile = extract_profile(content, header, plan.max_profile_bytes)
    if is_convertible(profile, "RGB"):
        _to_srgb(color, profile)
    return Decoded(color, alpha)


def _to_srgb(color: Pixels, profile: bytes) -> None:
    """Convert RGB of 8 or 16 bits in place."""
    if color.dtype == np.uint8:
        profile_to_srgb(color, profile, "RGB", color)
    elif deep_profile_to_srgb(color, profile) is None:
        small = to_8_bit(color)
        color[:] = to_16_bit(profile_to_srgb(small, profile, "RGB", small))


def _gray(gray: Pixels, transparent: int | None, canvas: Canvas) -> Decoded:
    """Return gray [H, W] of 8 or 16 bits as colour; the gray that is transparent, if any, as alpha."""
    height, width = gray.shape
    color = canvas.color(height, width, gray.dtype)
    cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB, color)
    if transparent is None:
        return Decoded(color, None)
    alpha = canvas.alpha(height, width, gray.dtype)
    alpha[:] = np.where(gray == transparent, 0, np.iinfo(gray.dtype).max)
    return Decoded(color, alpha)


def _without_animation(content: Buffer, header: FileHeader) -> Buffer:
    """Return a still picture's file without what calls it an animation."""
    if not header.animation_spans:
        return content
    view = memoryview(content)
    starts = (0, *(end for _, end in header.animation_spans))
    ends = (*(start for start, _ in header.animation_spans), len(view))
    return b"".join(view[start:end] for start, end in zip(starts, ends, strict=True))


def _imdecode(content: Buffer, flags: int, header: FileHeader) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise _damaged(header) from error
    if pixels is None:
        raise _damaged(header)
    return pixels


def _decode_with_pillow(content: Buffer, plan: DecodePlan, canvas: Canvas) -> Decoded:
    header = plan.header
    stored_profile = extract_profile(content, header, plan.max_profile_bytes)
    try:
        still = _without_animation(content, header)
        with Image.open(io.BytesIO(still), formats=(header.format.pillow_name,)) as image:
            if image.size != (header.width_px, header.height_px):
                raise _damaged(header)
            image.load()
            profile = stored_profile or image.info.get("icc_profile") or b""
            if len(profile) > plan.max_profile_bytes:
                profile = b""
            return _convert(image, profile, _gray_of_8_bits(header), canvas)
    except (ImageUnreadableError, ImageFormatUnsupportedError):
        raise
    except Image.DecompressionBombError as error:
        raise _damaged(header) from error
    except _DECODER_ERRORS as error:
        raise _damaged(header) from error


def _convert(image: Image.Image, profile: bytes, transparent_gray: int | None, canvas: Canvas) -> Decoded:
    """Bring any of Pillow's modes to colour and alpha."""
    if image.mode in ("I;16", "I;16B", "I;16L"):
        return _gray(np.asarray(image).astype(np.uint16), None, canvas)
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise ImageFormatUnsupportedError("The picture's kind of samples is not accepted: send 8-bit or 16-bit RGB.")
    if image.mode in ("CMYK", "L") and is_convertible(profile, image.mode):
        color = canvas.color(image.height, image.width, _BYTE)
        for rows, strip in _strips(image):
            profile_to_srgb(np.asarray(strip), profile, image.mode, color[rows])
        return Decoded(color, None)
    if transparent_gray is not None and image.mode in ("L", "1"):
        image.info.pop("transparency", None)
        return _gray(np.asarray(image.convert("L")), transparent_gray, canvas)
    decoded = _unpack(image, canvas)
    if is_convertible(profile, "RGB"):
        _to_srgb(decoded.color, profile)
    return decoded


def _unpack(image: Image.Image, canvas: Canvas) -> Decoded:
    color = canvas.color(image.height, image.width, _BYTE)
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in image.info:
        for rows, strip in _strips(image):
            color[rows] = np.asarray(strip.convert("RGB"))
        return Decoded(color, None)
    alpha = canvas.alpha(image.height, image.width, _BYTE)
    for rows, strip in _strips(image):
        rgba = np.asarray(strip.convert("RGBA"))
        color[rows], alpha[rows] = rgba[..., :3], rgba[..., 3]
    return Decoded(color, alpha)


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield a picture in strips: Pillow converts, and hands pixels out, by further copies of the whole picture."""
    for top in range(0, image.height, _STRIP_ROWS):
        rows = slice(top, min(image.height, top + _STRIP_ROWS))
        yield rows, image.crop((0, rows.start, image.width, rows.stop))


def _gray_of_8_bits(header: FileHeader) -> int | None:
    """Return the transparent gray as Pillow shows it, which stretches fewer bits to 8."""
    if header.transparent_gray is None:
        return None
    top = (1 << header.bits_per_sample) - 1
    return (header.transparent_gray & top) * 255 // top


def _damaged(header: FileHeader) -> ImageUnreadableError:
    return ImageUnreadableError(f"The {header.format.title} file is cut off or damaged: it cannot be decoded.")


def _size_differs(header: FileHeader) -> ImageUnreadableError:
    return ImageUnreadableError(f"The {header.format.title} file is damaged: its header and picture differ in size.")
