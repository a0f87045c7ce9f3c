# SPDX-License-Identifier: Apache-2.0
"""A model's alpha to the results asked for: the arithmetic of one photo, shared between its outputs."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import cv2
import numpy as np
from matting_pixels.arrays import Pixels
from matting_pixels.compose import cutout, multiply_alpha, over_color, over_picture
from matting_pixels.decontaminate import decontaminate
from matting_pixels.fit import fit_contain, fit_cover, out_of_grid, resize
from matting_pixels.matting import refine_matting
from matting_pixels.placement import Placement, capped_size
from matting_pixels.refine import refine_guided
from matting_pixels.subject import Finding, Region, cut, find_subject, scale_region, widen
from PIL import Image

from matting_gateway.domain.photo import (
    BackgroundFit,
    Box,
    ColorBackground,
    Decontamination,
    FileEncoding,
    OutputKind,
    OutputSpec,
    PictureBackground,
    PixelFormat,
    RawEncoding,
    Refinement,
    RenderedOutput,
    Subject,
)
from matting_gateway.imaging.color.pixels import byte_view, to_8_bit, to_16_bit
from matting_gateway.imaging.media_types import can_be_deep, check_side, natural_format
from matting_gateway.imaging.worker.prepare import Prepared
from matting_gateway.imaging.writers.encode import encode_cutout, encode_file

_FITS = {BackgroundFit.COVER: fit_cover, BackgroundFit.CONTAIN: fit_contain, BackgroundFit.STRETCH: resize}


class Renderer:
    """Makes the results of one photo. Lives for one call.

    Shares between outputs what is equal for them: the alpha at the photo's size, refined or not, and the
    decontaminated colour. Everything is made when it is first needed and not before.
    """

    def __init__(
        self,
        prepared: Prepared,
        placement: Placement,
        width_px: int,
        height_px: int,
        alpha: Pixels,
        *,
        exact: bool,
        default_quality: int,
        check_wanted: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepared = prepared
        self._placement = placement
        self._width_px = width_px
        self._height_px = height_px
        self._grid_alpha = out_of_grid(alpha, placement)
        self._exact = exact
        self._default_quality = default_quality
        # Raises in the middle of long work that nobody waits for any more.
        self._check_wanted = check_wanted
        self._alphas: dict[tuple[Refinement, int, int], Pixels] = {}
        self._clean_colors: dict[tuple[Refinement, Region], Pixels] = {}
        # Sizes at which the edge was to be solved for, and the guided filter had to do.
        self._unsolved: set[tuple[int, int]] = set()

    @cached_property
    def finding(self) -> Finding:
        """The subject, in pixels of the model's grid, the photo's own alpha taken into account."""
        return find_subject(self._combine(self._grid_alpha))

    def subject(self) -> Subject:
        """Return where the subject is, in pixels of the photo."""
        region = self._subject_region()
        box = None if region is None else Box(region.left_px, region.top_px, region.width_px, region.height_px)
        return Subject(found=box is not None, box=box, area_share=self.finding.area_share)

    def render(self, output: OutputSpec, background: Prepared | None, path: str) -> RenderedOutput:
        """Make one result.

        Args:
            output: What is wanted.
            background: The decoded picture to put behind the subject, where it has one.
            path: What the output is called in the request.

        Raises:
            OptionInvalidError: The result is larger than its format can hold.
        """
        if output.model_grid:
            return self._encode(self._grid_alpha, output)
        region = self._crop_region(output)
        width, height = capped_size(region.width_px, region.height_px, output.max_side_px)
        if isinstance(output.encoding, FileEncoding):
            check_side(output.encoding, width, height, f"{path}.encoded.mime_type")
        if output.kind is OutputKind.CUTOUT and isinstance(output.encoding, FileEncoding):
            color, alpha = self._front(output, region, width, height)
            data = encode_cutout(color, alpha, output.encoding, self._default_quality)
            rendered = RenderedOutput(data, width, height, mime_type=output.encoding.mime_type)
        else:
            rendered = self._encode(self._pixels(output, background, region, width, height), output)
        return replace(rendered, refinement=self._applied(output.refinement, region, width, height))

    def let_go(self) -> None:
        """Keep no pixels for further results, so that they are gone before the last one is copied to its place."""
        self._alphas.clear()
        self._clean_colors.clear()

    def _applied(self, refinement: Refinement, region: Region, width: int, height: int) -> Refinement:
        """Return what was done to the edge of a result that is finished."""
        made_at = (width, height) if region == self._whole else (self._width_px, self._height_px)
        return Refinement.GUIDED if refinement is Refinement.MATTING and made_at in self._unsolved else refinement

    def _front(self, output: OutputSpec, region: Region, width: int, height: int) -> tuple[Pixels, Pixels]:
        """Return the subject's colour and its alpha, both of the dtype that the output takes."""
        alpha: Pixels = self._alpha(output.refinement, region, width, height)
        color = self._color(output, region, width, height)
        if _wants_deep(output, color):
            return color, to_16_bit(alpha)
        return to_8_bit(color), alpha

    def _pixels(
        self, output: OutputSpec, background: Prepared | None, region: Region, width: int, height: int
    ) -> Pixels:
        if output.kind is OutputKind.ALPHA:
            return self._alpha(output.refinement, region, width, height)
        color, alpha = self._front(output, region, width, height)
        if output.kind is OutputKind.CUTOUT:
            return cutout(color, alpha)
        if isinstance(output.background, ColorBackground):
            chosen = (output.background.red, output.background.green, output.background.blue)
            return over_color(color, alpha, chosen)
        if not isinstance(output.background, PictureBackground) or background is None or background.color is None:
            raise ValueError("a composite reached rendering without its background")
        behind = _behind(background, self._width_px, self._height_px, output.background.fit)
        behind = resize(cut(behind, region), width, height)
        behind = to_16_bit(behind) if color.dtype == np.uint16 else to_8_bit(behind)
        return over_picture(color, alpha, behind, linear_light=output.background.linear_light)

    def _alpha(self, refinement: Refinement, region: Region, width: int, height: int) -> Pixels:
        """Return the alpha of a region of the photo at an output's size."""
        if region == self._whole:
            return self._whole_alpha(refinement, width, height)
        return resize(cut(self._whole_alpha(refinement, self._width_px, self._height_px), region), width, height)

    def _whole_alpha(self, refinement: Refinement, width: int, height: int) -> Pixels:
        key = (refinement, width, height)
        if key not in self._alphas:
            self._alphas[key] = self._combine(self._scaled_alpha(refinement, width, height))
        return self._alphas[key]

    def _scaled_alpha(self, refinement: Refinement, width: int, height: int) -> Pixels:
        if refinement is not Refinement.NONE and self._prepared.color is not None:
            guide = to_8_bit(resize(self._prepared.color, width, height))
            if refinement is Refinement.GUIDED:
                return refine_guided(guide, self._grid_alpha)
            refined = refine_matting(guide, self._grid_alpha, check=self._check_wanted)
            if not refined.solved:
                self._unsolved.add((width, height))
            return refined.alpha
        if self._exact:
            image = Image.fromarray(np.ascontiguousarray(self._grid_alpha))
            return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
        return resize(self._grid_alpha, width, height)

    def _combine(self, alpha: Pixels) -> Pixels:
        """Multiply the photo's own alpha in."""
        if self._prepared.alpha is None:
            return alpha
        height, width = alpha.shape
        return multiply_alpha(alpha, to_8_bit(resize(self._prepared.alpha, width, height)))

    def _color(self, output: OutputSpec, region: Region, width: int, height: int) -> Pixels:
        color = self._prepared.color
        if color is None:
            raise ValueError("a result that needs colour reached rendering without it")
        if output.decontamination is Decontamination.BLUR_FUSION:
            color = self._clean_color(color, output.refinement, region)
        else:
            color = cut(color, region)
        return resize(color, width, height)

    def _clean_color(self, color: Pixels, refinement: Refinement, region: Region) -> Pixels:
        whole = self._clean_colors.get((refinement, self._whole))
        if whole is not None:
            return cut(whole, region)
        key = (refinement, region)
        if key not in self._clean_colors:
            alpha = self._whole_alpha(refinement, self._width_px, self._height_px)
            self._clean_colors[key] = decontaminate(color, alpha, region)
        return self._clean_colors[key]

    @property
    def _whole(self) -> Region:
        return Region(0, 0, self._width_px, self._height_px)

    def _subject_region(self) -> Region | None:
        if self.finding.box is None:
            return None
        height, width = self._grid_alpha.shape
        return scale_region(self.finding.box, width, height, self._width_px, self._height_px)

    def _crop_region(self, output: OutputSpec) -> Region:
        """Return the part of the photo that a result shows; without a subject there is nothing to crop to."""
        region = self._subject_region()
        if output.crop is None or region is None:
            return self._whole
        return widen(region, output.crop.margin_share, self._width_px, self._height_px)

    def _encode(self, pixels: Pixels, output: OutputSpec) -> RenderedOutput:
        height, width = pixels.shape[:2]
        if isinstance(output.encoding, FileEncoding):
            data = encode_file(pixels, output.encoding, self._default_quality)
            return RenderedOutput(data, width, height, mime_type=output.encoding.mime_type)
        wanted = output.encoding.pixel_format or natural_format(output.kind)
        pixels = to_16_bit(pixels) if wanted.bytes_per_sample == 2 else to_8_bit(pixels)
        if wanted is PixelFormat.BGR8:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        return RenderedOutput(byte_view(pixels), width, height, pixel_format=wanted)


def _wants_deep(output: OutputSpec, color: Pixels) -> bool:
    if color.dtype != np.uint16:
        return False
    if isinstance(output.encoding, RawEncoding):
        wanted = output.encoding.pixel_format
        return wanted is not None and wanted.bytes_per_sample == 2
    return can_be_deep(output.encoding)


def _behind(background: Prepared, width: int, height: int, fit: BackgroundFit) -> Pixels:
    """Bring a background picture to the photo's size; what is transparent in it is black."""
    color = background.color
    if color is None:
        raise ValueError("a background picture reached rendering without its colour")
    if background.alpha is not None:
        color = over_color(color, background.alpha, (0, 0, 0))
    return _FITS[fit](color, width, height)
