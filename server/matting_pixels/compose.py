# SPDX-License-Identifier: Apache-2.0
"""Subject and alpha to cutouts and composites."""

import cv2
import numpy as np

from matting_pixels.arrays import Floats, Pixels

# Rows worked on at once, so that intermediate values stay in the cache.
_STRIP_ROWS = 64


def multiply_alpha(alpha: Pixels, own: Pixels) -> Pixels:
    """Multiply two alphas uint8 [H, W], rounded."""
    return cv2.multiply(alpha, own, scale=1.0 / 255.0)


def cutout(color: Pixels, alpha: Pixels) -> Pixels:
    """Join colour [H, W, 3] and alpha [H, W] of one dtype to RGBA [H, W, 4].

    The colour under alpha 0 is blanked: a cutout holds nothing of the background.
    """
    out = np.empty((*alpha.shape, 4), color.dtype)
    for top in range(0, alpha.shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        cutout_rows(color[rows], alpha[rows], out[rows])
    return out


def cutout_rows(color: Pixels, alpha: Pixels, out: Pixels) -> None:
    """Like `cutout`, into rows that exist."""
    cv2.merge([color, alpha], out)
    blank_hidden(out)


def blank_hidden(rgba: Pixels) -> None:
    """Set the colour under alpha 0 to 0, in place, in RGBA [H, W, 4]."""
    if rgba.dtype == np.uint8 and rgba.strides[1:] == (4, 1):
        words = rgba.view("<u4")[..., 0]
        np.multiply(words, words >= 1 << 24, out=words)
        return
    rgba *= (rgba[..., 3:] != 0).astype(rgba.dtype)


def over_color(color: Pixels, alpha: Pixels, background: tuple[int, int, int]) -> Pixels:
    """Lay the subject over one colour (sRGB, 0 to 255). Returns [H, W, 3] of the colour's dtype."""
    top = 65_535.0 if color.dtype == np.uint16 else 255.0
    scaled = np.array(background, np.float32) * np.float32(top / 255.0)
    return _blend(color, alpha, scaled, linear_light=False)


def over_picture(color: Pixels, alpha: Pixels, background: Pixels, *, linear_light: bool = False) -> Pixels:
    """Lay the subject over a picture of the same size and dtype [H, W, 3].

    Args:
        color: The subject's colour.
        alpha: Its alpha [H, W], of the same dtype.
        background: What goes behind.
        linear_light: Mix light (sRGB decoded by IEC 61966-2-1) rather than sRGB values, which avoids dark seams.
    """
    return _blend(color, alpha, background, linear_light=linear_light)


def _blend(color: Pixels, alpha: Pixels, background: Pixels, *, linear_light: bool) -> Pixels:
    top = np.float32(np.iinfo(color.dtype).max)
    out = np.empty_like(color)
    for start in range(0, alpha.shape[0], _STRIP_ROWS):
        rows = slice(start, start + _STRIP_ROWS)
        weight = alpha[rows, :, None].astype(np.float32) / top
        front = color[rows].astype(np.float32)
        behind = (background[rows] if background.ndim == 3 else background).astype(np.float32)
        if linear_light:
            front, behind = srgb_to_linear(front / top), srgb_to_linear(behind / top)
        mixed = behind + weight * (front - behind)
        if linear_light:
            mixed = linear_to_srgb(mixed) * top
        out[rows] = np.clip(np.rint(mixed), 0, top).astype(color.dtype)
    return out


def srgb_to_linear(value: Floats) -> Floats:
    """Decode sRGB values 0 to 1 to light 0 to 1 (IEC 61966-2-1)."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(value: Floats) -> Floats:
    """Encode light 0 to 1 as sRGB values 0 to 1 (IEC 61966-2-1)."""
    value = np.clip(value, 0.0, 1.0)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055).astype(np.float32)
