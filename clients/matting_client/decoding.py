# SPDX-License-Identifier: Apache-2.0
"""Photos read here, by Pillow: upright, in sRGB, at 8 bits a sample. Needs the extra `[pixels]`."""

import contextlib
import functools
import importlib
import io
import warnings

import numpy as np
from matting_pixels.arrays import Pixels
from PIL import Image, ImageCms, ImageOps

_DEEP_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "F"))


def check_readable(photo: bytes) -> None:
    """Read a photo's header.

    Raises:
        ValueError: It cannot be read here, or not at its full depth.
    """
    with _opened(photo) as image:
        _check_depth(image, photo)


def read_color(photo: bytes) -> Pixels:
    """Decode a photo to sRGB uint8 [H, W, 3], upright.

    Raises:
        ValueError: It cannot be read here, or not at its full depth.
    """
    return read_photo(photo)[0]


def read_photo(photo: bytes) -> tuple[Pixels, Pixels | None]:
    """Decode a photo to its colour, as `read_color` does, and its own alpha uint8 [H, W], if it has one.

    Raises:
        ValueError: It cannot be read here, or not at its full depth.
    """
    with _opened(photo) as image:
        _check_depth(image, photo)
        try:
            upright = ImageOps.exif_transpose(image)
            own = np.asarray(upright.convert("RGBA"))[..., 3] if upright.has_transparency_data else None
            color = np.asarray(_to_srgb(upright))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"it cannot be decoded here ({error})") from error
        return color, own


def read_alpha(alpha: bytes) -> Pixels:
    """Decode an alpha to uint8 [H, W].

    Raises:
        ValueError: It cannot be read here.
    """
    try:
        with _opened(alpha) as image:
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError("the alpha that came cannot be read") from error


@functools.cache
def _know_heif() -> None:
    """Teach Pillow HEIC where the extra `[heif]` is installed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


def _opened(photo: bytes) -> Image.Image:
    _know_heif()
    try:
        with warnings.catch_warnings():
            # Pillow warns of large photos and refuses those of twice that size: what it only warns of is read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(photo))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError("it is of a format that cannot be read here") from error


def _check_depth(image: Image.Image, photo: bytes) -> None:
    """Refuse more than 8 bits a sample; of a colour PNG Pillow does not tell, but its header does."""
    depth = photo[24] if image.format == "PNG" else 8
    if image.mode in _DEEP_MODES or depth > 8:
        raise ValueError("it has 16 bits a sample")


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a broken profile says nothing about the colours
        if converted is not None:
            return converted
    return image.convert("RGB")
