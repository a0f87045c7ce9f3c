# SPDX-License-Identifier: Apache-2.0
"""Finished files made here, from a photo and the alpha that a server made of it.

The server then decodes less, encodes one small gray file, and sends little; the arithmetic is the
server's own (`matting_pixels`). Works at 8 bits a sample; deeper photos are the server's to finish.
Needs the extra `[pixels]`.
"""

import io
from dataclasses import dataclass
from typing import Any, cast

try:
    import numpy as np
    from matting_pixels.arrays import Pixels
    from matting_pixels.compose import cutout, multiply_alpha, over_color, over_picture
    from matting_pixels.decontaminate import decontaminate
    from matting_pixels.fit import resize
    from matting_pixels.matting import refine_matting
    from matting_pixels.placement import capped_size
    from matting_pixels.refine import refine_guided
    from matting_pixels.subject import Region, cut, find_subject, widen
    from PIL import Image, ImageCms

    from matting_client.decoding import check_readable, read_alpha, read_color, read_photo
except ImportError as missing:
    raise ImportError(f"matting_client.compose needs {missing.name}: pip install 'matting-client[pixels]'") from missing

from matting_client.answers import Answer, Box
from matting_client.formats import FILE_FORMATS, FileFormat
from matting_client.photos import BackgroundPicture, Fit, OutputSpec, Refinement

__all__ = ["LocalComposer", "compose", "encode", "fit_background", "read_color"]

DEFAULT_QUALITY = 85


@dataclass(frozen=True, slots=True)
class LocalComposer:
    """Makes one kind of result."""

    spec: OutputSpec

    def alpha_spec(self, photo: bytes) -> OutputSpec:
        """Return the alpha to ask the server for.

        Refinement starts from the alpha at the model's own grid, as it does at the server; everything else from one
        of the photo's size.

        Raises:
            ValueError: The photo cannot be read here, or not at its full depth.
        """
        check_readable(photo)
        return OutputSpec(model_grid=True) if self.spec.refinement != "none" else OutputSpec()

    def compose(self, photo: bytes, answer: Answer) -> bytes:
        """Make the finished file of a photo and the answer that holds its alpha.

        Raises:
            ValueError: The photo cannot be read here, or not at its full depth; or the server is older than
                `OutputSpec.model_grid`, and has enlarged the alpha that was to be refined.
        """
        of_model = self.spec.refinement != "none"
        if of_model and not answer.output.refinement_applied:
            raise ValueError("it is of an older version, and does not give the alpha of the model's own grid")
        return compose(photo, answer.output.content, self.spec, answer.subject.box, of_model=of_model)


def compose(photo: bytes, alpha: bytes, spec: OutputSpec, box: Box | None = None, *, of_model: bool = False) -> bytes:
    """Make the file that `spec` describes of a photo's file and its alpha's file.

    The alpha may be smaller than the photo. `box` is the subject in photo pixels, as the server
    reported it; None: it is looked for in the alpha. With `of_model` the alpha is one of `OutputSpec.model_grid`,
    and the photo's own alpha, if it has one, is multiplied in here.

    Raises:
        ValueError: The photo cannot be read here, or not at its full depth; or the alpha cannot.
    """
    color, own = read_photo(photo)
    height, width = color.shape[:2]
    grid = read_alpha(alpha)
    edge = _Edge(color, own if of_model else None, grid, spec.refinement)
    region = _region(spec, edge, box)
    size = capped_size(region.width_px, region.height_px, spec.max_side_px)
    # As the server does it: what shows the whole photo is refined at its own size, a part at the photo's.
    is_whole = (region.width_px, region.height_px) == (width, height)
    cut_matte = edge.alpha(*size) if is_whole else resize(_cut(edge.alpha(width, height), region), *size)
    if spec.kind == "alpha":
        return encode(cut_matte, spec)
    if spec.decontaminate:
        color = decontaminate(color, edge.alpha(width, height))
    color = resize(_cut(color, region), *size)
    if spec.kind == "cutout":
        return encode(cutout(color, cut_matte), spec)
    if isinstance(spec.background, BackgroundPicture):
        behind = fit_background(read_color(spec.background.picture), width, height, spec.background.fit)
        behind = resize(_cut(behind, region), *size)
        return encode(over_picture(color, cut_matte, behind, linear_light=spec.background.linear_light), spec)
    if spec.background is None:
        raise ValueError("a composite needs a background")
    return encode(over_color(color, cut_matte, spec.background), spec)


class _Edge:
    """The alpha of one photo at whatever size, refined there, the photo's own multiplied in; each made once."""

    def __init__(self, color: Pixels, own: Pixels | None, grid: Pixels, refinement: Refinement) -> None:
        self._color = color
        self._own = own
        self._grid = grid
        self._refinement = refinement
        self._made: dict[tuple[int, int], Pixels] = {}

    def alpha(self, width: int, height: int) -> Pixels:
        """Return the alpha uint8 [height, width]."""
        size = (width, height)
        if size not in self._made:
            self._made[size] = self._with_own(self._refined(width, height))
        return self._made[size]

    @property
    def photo_shape(self) -> tuple[int, int]:
        """Height and width of the photo."""
        return self._color.shape[:2]

    def _refined(self, width: int, height: int) -> Pixels:
        if self._refinement == "none":
            return resize(self._grid, width, height)
        guide = resize(self._color, width, height)
        if self._refinement == "guided":
            return refine_guided(guide, self._grid)
        return refine_matting(guide, self._grid).alpha

    def _with_own(self, alpha: Pixels) -> Pixels:
        if self._own is None:
            return alpha
        height, width = alpha.shape
        return multiply_alpha(alpha, resize(self._own, width, height))


def encode(pixels: Pixels, spec: OutputSpec) -> bytes:
    """Write [H, W], [H, W, 3] or [H, W, 4] as a file, tagged sRGB and without other metadata.

    Raises:
        ValueError: The format cannot hold it.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    facts = FILE_FORMATS[cast("FileFormat", spec.encoding)]
    written = (facts.lossless if spec.lossless else None) or facts.written
    options: dict[str, Any] = dict(written or {"quality": spec.quality or DEFAULT_QUALITY})
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
        return resize(_cut(picture, Region(left, top, cut_width, cut_height)), width_px, height_px)
    scale = min(ratios)
    inner_width = max(1, min(width_px, round(own_width * scale)))
    inner_height = max(1, min(height_px, round(own_height * scale)))
    out = np.zeros((height_px, width_px, 3), np.uint8)
    left, top = (width_px - inner_width) // 2, (height_px - inner_height) // 2
    out[top : top + inner_height, left : left + inner_width] = resize(picture, inner_width, inner_height)
    return out


def _region(spec: OutputSpec, edge: _Edge, box: Box | None) -> Region:
    height, width = edge.photo_shape
    whole = Region(0, 0, width, height)
    if spec.crop_margin_share is None:
        return whole
    if box is not None:
        subject = Region(box.left_px, box.top_px, box.width_px, box.height_px)
    else:
        found = find_subject(edge.alpha(width, height)).box
        if found is None:
            return whole
        subject = found
    return widen(subject, spec.crop_margin_share, width, height)


def _cut(pixels: Pixels, region: Region) -> Pixels:
    return np.ascontiguousarray(cut(pixels, region))
