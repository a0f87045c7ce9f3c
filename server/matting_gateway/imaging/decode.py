# SPDX-License-Identifier: Apache-2.0
"""One file to pixels: the only place where native decoders meet bytes from outside.

OpenCV reads 8-bit JPEG of one or three components, straight into an array and scaled where the plan
says so, and 16-bit PNG and TIFF, which Pillow cuts to 8 bits. Pillow reads everything else.
"""

import io

import cv2
import numpy as np
from matting_pixels.arrays import Pixels
from PIL import AvifImagePlugin, Image

from matting_gateway.domain import Buffer
from matting_gateway.errors import ImageFormatUnsupportedError, ImageUnreadableError
from matting_gateway.imaging.deep_profile import deep_profile_to_srgb
from matting_gateway.imaging.formats import ImageFormat, register_heif
from matting_gateway.imaging.headers.model import FileHeader
from matting_gateway.imaging.pixels import Decoded, to_8_bit, to_16_bit
from matting_gateway.imaging.plan import DecodePlan
from matting_gateway.imaging.profile import extract_profile, is_convertible, profile_to_srgb

_JPEG_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_STRIP_ROWS = 256
# Everything that Pillow's decoders are known to raise on damaged files.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError)


def set_up_decoders() -> None:
    """Set the libraries' own switches; once in every process that decodes."""
    # Parallelism is photos side by side; the libraries' own threads would only fight over the cores.
    cv2.setNumThreads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    # Headers are checked against the operator's own limits; Pillow's would only be a second, silent one.
    Image.MAX_IMAGE_PIXELS = None
    register_heif()


def decode(content: Buffer, plan: DecodePlan) -> Decoded:
    """Decode one file as stored, its orientation not yet applied.

    Raises:
        ImageUnreadableError: Cut off or damaged.
        ImageFormatUnsupportedError: Samples that cannot be kept.
        ImageTooLargeError: The colour profile unpacks to too much.
    """
    header = plan.header
    if header.format is ImageFormat.JPEG and header.sample_count in (1, 3):
        decoded = _decode_jpeg(content, plan)
    elif _is_deep(header):
        decoded = _decode_deep(content, plan)
    else:
        decoded = _decode_with_pillow(content, plan)
    expected = (-(-header.height_px // plan.reduction), -(-header.width_px // plan.reduction), 3)
    if decoded.color.shape != expected:
        raise ImageUnreadableError(f"The {header.format.title} file is damaged: its header and picture differ in size.")
    return decoded


def _decode_jpeg(content: Buffer, plan: DecodePlan) -> Decoded:
    flags = _JPEG_FLAGS[plan.reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    color = _imdecode(content, flags, plan.header)
    if plan.reduction > 1:
        cv2.cvtColor(color, cv2.COLOR_BGR2RGB, color)
    profile = extract_profile(content, plan.header, plan.max_profile_bytes)
    gray = plan.header.sample_count == 1
    if is_convertible(profile, "L" if gray else "RGB"):
        color = profile_to_srgb(color[..., 0] if gray else color, profile, "L" if gray else "RGB")
    return Decoded(color, None)


def _is_deep(header: FileHeader) -> bool:
    if header.format is ImageFormat.TIFF:
        return header.bits_per_sample == 16 and header.sample_count in (3, 4)
    return header.format is ImageFormat.PNG and header.bits_per_sample == 16


def _decode_deep(content: Buffer, plan: DecodePlan) -> Decoded:
    pixels = _imdecode(content, cv2.IMREAD_UNCHANGED, plan.header)
    if pixels.ndim == 2:
        alpha = None
        if plan.header.transparent_gray is not None:
            alpha = _keyed_alpha(pixels, plan.header.transparent_gray)
        return Decoded(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), alpha)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    color = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGRA2RGB)
    profile = extract_profile(content, plan.header, plan.max_profile_bytes)
    if is_convertible(profile, "RGB"):
        converted = deep_profile_to_srgb(color, profile)
        color = to_16_bit(profile_to_srgb(to_8_bit(color), profile, "RGB")) if converted is None else converted
    return Decoded(color, alpha)


def _keyed_alpha(gray: Pixels, key: int) -> Pixels:
    """Return the alpha of a picture in which one gray is transparent."""
    return np.where(gray == key, 0, np.iinfo(gray.dtype).max).astype(gray.dtype)


def _imdecode(content: Buffer, flags: int, header: FileHeader) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise _damaged(header) from error
    if pixels is None:
        raise _damaged(header)
    return pixels


def _decode_with_pillow(content: Buffer, plan: DecodePlan) -> Decoded:
    header = plan.header
    stored_profile = extract_profile(content, header, plan.max_profile_bytes)
    try:
        with Image.open(io.BytesIO(content), formats=(header.format.pillow_name,)) as image:
            if image.size != (header.width_px, header.height_px):
                raise _damaged(header)
            image.load()
            profile = stored_profile or image.info.get("icc_profile") or b""
            if len(profile) > plan.max_profile_bytes:
                profile = b""
            return _convert(image, profile, _gray_of_8_bits(header))
    except (ImageUnreadableError, ImageFormatUnsupportedError):
        raise
    except Image.DecompressionBombError as error:
        raise _damaged(header) from error
    except _DECODER_ERRORS as error:
        raise _damaged(header) from error


def _convert(image: Image.Image, profile: bytes, transparent_gray: int | None) -> Decoded:
    """Bring any of Pillow's modes to colour and alpha."""
    if image.mode in ("I;16", "I;16B", "I;16L"):
        gray = np.asarray(image).astype(np.uint16)
        return Decoded(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), None)
    if image.mode in ("CMYK", "L") and is_convertible(profile, image.mode):
        return Decoded(profile_to_srgb(np.asarray(image), profile, image.mode), None)
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise ImageFormatUnsupportedError("The picture's kind of samples is not accepted: send 8-bit or 16-bit RGB.")
    alpha: Pixels | None = None
    if transparent_gray is not None and image.mode in ("L", "1"):
        image.info.pop("transparency", None)
        gray = np.asarray(image.convert("L"))
        return Decoded(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), _keyed_alpha(gray, transparent_gray))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = _to_array(image.getchannel("A"))
    color = _to_array(image if image.mode == "RGB" else image.convert("RGB"))
    if is_convertible(profile, "RGB"):
        color = to_8_bit(profile_to_srgb(color, profile, "RGB"))
    return Decoded(color, alpha)


def _gray_of_8_bits(header: FileHeader) -> int | None:
    """Return the transparent gray as Pillow shows it, which stretches fewer bits to 8."""
    if header.transparent_gray is None:
        return None
    top = (1 << header.bits_per_sample) - 1
    return (header.transparent_gray & top) * 255 // top


def _to_array(image: Image.Image) -> Pixels:
    """Copy in strips: Pillow hands its pixels out as a string, and a whole one would double the memory."""
    width, height = image.size
    shape = (height, width) if image.mode == "L" else (height, width, len(image.getbands()))
    out = np.empty(shape, np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(height, top + _STRIP_ROWS)
        out[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return out


def _damaged(header: FileHeader) -> ImageUnreadableError:
    return ImageUnreadableError(f"The {header.format.title} file is cut off or damaged: it cannot be decoded.")
