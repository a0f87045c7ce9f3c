# SPDX-License-Identifier: Apache-2.0
"""Finished files made here, from a photo and the alpha that a server made of it.

The server then decodes less, encodes one small gray file, and sends little; the arithmetic is the
server's own (`matting_pixels`). Works at 8 bits a sample; deeper photos are the server's to finish.
Needs the extra `[pixels]`.
"""

import contextlib
import functools
import importlib
import io
import math
import warnings
from dataclasses import dataclass
from typing import Any

try:
    import numpy as np
    from matting_pixels.arrays import Pixels
    from matting_pixels.compose import cutout, over_color, over_picture
    from matting_pixels.decontaminate import decontaminate
    from matting_pixels.fit import resize
    from matting_pixels.refine import refine_guided
    from matting_pixels.subject import Region, find_subject, widen
    from PIL import Image, ImageCms, ImageOps
except ImportError as missing:
    raise ImportError(
        f"matting_client.compose needs {missing.name}: pip install 'matting-gateway[pixels]'"
    ) from missing

from matting_client.answers import Answer, Box
from matting_client.photos import BackgroundPicture, Fit, OutputSpec

DEFAULT_QUALITY = 85
# Asked for where the model's own size is not known: fine enough for any, and still small.
_UNKNOWN_GRID_PX = 1024
_DEEP_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "F"))


@dataclass(frozen=True, slots=True)
class LocalComposer:
    """Makes one kind of result. `grid_px` is the model's own input size, 0 where it takes any."""

    spec: OutputSpec
    grid_px: int = 0

    def alpha_spec(self, photo: bytes) -> OutputSpec:
        """Return the alpha to ask the server for.

        A guided filter starts from the alpha at the model's own resolution; everything else from
        one of the photo's size.

        Raises:
            ValueError: The photo cannot be read here, or not at its full depth.
        """
        with _opened(photo) as image:
            _check_depth(image, photo)
            long_px, short_px = max(image.size), min(image.size)
        grid_px = self.grid_px or _UNKNOWN_GRID_PX
        if not self.spec.refine or short_px <= grid_px:
            return OutputSpec()
        return OutputSpec(max_side_px=math.ceil(grid_px * long_px / short_px))

    def compose(self, photo: bytes, answer: Answer) -> bytes:
        """Make the finished file of a photo and the answer that holds its alpha.

        Raises:
            ValueError: The photo cannot be read here, or not at its full depth.
        """
        return compose(photo, answer.output.content, self.spec, answer.subject.box)


def compose(photo: bytes, alpha: bytes, spec: OutputSpec, box: Box | None = None) -> bytes:
    """Make the file that `spec` describes of a photo's file and its alpha's file.

    The alpha may be smaller than the photo. `box` is the subject in photo pixels, as the server
    reported it; None: it is looked for in the alpha.

    Raises:
        ValueError: The photo cannot be read here, or not at its full depth.
    """
    color = read_color(photo)
    height, width = color.shape[:2]
    with Image.open(io.BytesIO(alpha)) as image:
        matte: Pixels = np.asarray(image.convert("L"))
    matte = refine_guided(color, matte) if spec.refine else resize(matte, width, height)
    if spec.decontaminate:
        color = decontaminate(color, matte)
    region = _region(spec, matte, box)
    size = _capped(region, spec.max_side_px)
    color, cut_matte = (resize(np.ascontiguousarray(_cut(each, region)), *size) for each in (color, matte))
    if spec.kind == "alpha":
        return encode(cut_matte, spec)
    if spec.kind == "cutout":
        return encode(cutout(color, cut_matte), spec)
    if isinstance(spec.background, BackgroundPicture):
        behind = fit_background(read_color(spec.background.picture), width, height, spec.background.fit)
        behind = resize(np.ascontiguousarray(_cut(behind, region)), *size)
        return encode(over_picture(color, cut_matte, behind, linear_light=spec.background.linear_light), spec)
    if spec.background is None:
        raise ValueError("a composite needs a background")
    return encode(over_color(color, cut_matte, spec.background), spec)


def read_color(photo: bytes) -> Pixels:
    """Decode a photo to sRGB uint8 [H, W, 3], upright.

    Raises:
        ValueError: It cannot be read here, or not at its full depth.
    """
    with _opened(photo) as image:
        _check_depth(image, photo)
        try:
            upright = _to_srgb(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"it cannot be decoded here ({error})") from error
        return np.asarray(upright)


def encode(pixels: Pixels, spec: OutputSpec) -> bytes:
    """Write [H, W], [H, W, 3] or [H, W, 4] as a file, tagged sRGB and without other metadata.

    Raises:
        ValueError: The format cannot hold it.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    options: dict[str, Any] = {"quality": spec.quality or DEFAULT_QUALITY}
    if spec.encoding == "png":
        options = {"compress_level": 1}
    elif spec.encoding == "webp" and spec.lossless:
        options = {"lossless": True, "quality": 0, "method": 0}
    if pixels.ndim == 3:
        options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out = io.BytesIO()
    try:
        image.save(out, spec.encoding, **options)
    except OSError as error:
        raise ValueError(f"the {spec.encoding} writer refused it ({error})") from error
    return out.getvalue()


def fit_background(picture: Pixels, width_px: int, height_px: int, fit: Fit) -> Pixels:
    """Bring a background picture [H, W, 3] to a size."""
    if fit == "stretch":
        return resize(picture, width_px, height_px)
    own_height, own_width = picture.shape[:2]
    ratios = (width_px / own_width, height_px / own_height)
    if fit == "cover":
        scale = max(ratios)
        cut_width = max(1, min(own_width, round(width_px / scale)))
        cut_height = max(1, min(own_height, round(height_px / scale)))
        left, top = (own_width - cut_width) // 2, (own_height - cut_height) // 2
        part = _cut(picture, Region(left, top, cut_width, cut_height))
        return resize(np.ascontiguousarray(part), width_px, height_px)
    scale = min(ratios)
    inner_width = max(1, min(width_px, round(own_width * scale)))
    inner_height = max(1, min(height_px, round(own_height * scale)))
    out = np.zeros((height_px, width_px, 3), np.uint8)
    left, top = (width_px - inner_width) // 2, (height_px - inner_height) // 2
    out[top : top + inner_height, left : left + inner_width] = resize(picture, inner_width, inner_height)
    return out


@functools.cache
def _know_heif() -> None:
    """Teach Pillow HEIC where the extra `[heif]` is installed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


def _opened(photo: bytes) -> Image.Image:
    _know_heif()
    try:
        with warnings.catch_warnings():
            # Between its warning and its refusal Pillow is asked for a photo that the server took.
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


def _region(spec: OutputSpec, matte: Pixels, box: Box | None) -> Region:
    height, width = matte.shape
    whole = Region(0, 0, width, height)
    if spec.crop_margin_share is None:
        return whole
    if box is not None:
        subject = Region(box.left_px, box.top_px, box.width_px, box.height_px)
    else:
        found = find_subject(matte).box
        if found is None:
            return whole
        subject = found
    return widen(subject, spec.crop_margin_share, width, height)


def _capped(region: Region, max_side_px: int) -> tuple[int, int]:
    longest = max(region.width_px, region.height_px)
    if max_side_px == 0 or longest <= max_side_px:
        return region.width_px, region.height_px
    scale = max_side_px / longest
    return max(1, round(region.width_px * scale)), max(1, round(region.height_px * scale))


def _cut(pixels: Pixels, region: Region) -> Pixels:
    return pixels[region.top_px : region.top_px + region.height_px, region.left_px : region.left_px + region.width_px]
