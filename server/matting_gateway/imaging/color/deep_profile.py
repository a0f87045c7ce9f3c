# SPDX-License-Identifier: Apache-2.0
"""Embedded RGB profiles to sRGB at 16 bits, which Pillow's colour engine cannot do.

Covers profiles of three curves and a matrix (ICC.1:2010, 8.3.3), as cameras and photo editors embed for 16-bit
work. Curves: `curv` (10.5) and `para` (10.15). Others are converted at 8 bits by the caller.
"""

import struct

import cv2
import numpy as np
from matting_pixels.arrays import Floats, Pixels
from matting_pixels.compose import linear_to_srgb

_STRIP_ROWS = 64
_TOP = 65_535
# sRGB's primaries adapted to D50, the connection space's white; columns are red, green, blue.
_SRGB_TO_XYZ = np.array(
    [[0.4360657, 0.3851515, 0.1430784], [0.2224932, 0.7168870, 0.0606169], [0.0139160, 0.0970764, 0.7140961]]
)
_CURVE_PARAMETERS = (1, 3, 4, 5, 7)


def deep_profile_to_srgb(pixels: Pixels, profile: bytes) -> Pixels | None:
    """Convert uint16 [H, W, 3] to sRGB, in place, strip by strip; None where the profile is of another kind."""
    try:
        tags = _tags(profile)
        curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
        colorants = np.stack([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
    except (KeyError, ValueError, struct.error):
        return None
    matrix = (np.linalg.inv(_SRGB_TO_XYZ) @ colorants).astype(np.float32)
    encode = np.rint(linear_to_srgb(np.arange(_TOP + 1, dtype=np.float32) / _TOP) * _TOP).astype(np.uint16)
    for top in range(0, pixels.shape[0], _STRIP_ROWS):
        strip = pixels[top : top + _STRIP_ROWS]
        light = np.stack([curve[strip[..., index]] for index, curve in enumerate(curves)], axis=-1)
        mixed = cv2.transform(light, matrix)
        strip[:] = encode[np.rint(np.clip(mixed, 0, 1) * _TOP).astype(np.uint16)]
    return pixels


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 256:
        raise ValueError("too many tags")
    tags = {}
    for index in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[name] = profile[offset : offset + size]
    return tags


def _xyz(tag: bytes) -> Floats:
    return np.array(struct.unpack_from(">iii", tag, 8)) / 65_536.0


def _curve(tag: bytes) -> Floats:
    """Return the light, 0 to 1, of each of the 65,536 values."""
    values = np.arange(_TOP + 1) / _TOP
    kind = tag[:4]
    if kind == b"curv":
        light = _sampled(tag, values)
    elif kind == b"para":
        light = _parametric(tag, values)
    else:
        raise ValueError("unknown curve")
    curve: Floats = np.nan_to_num(light).clip(0, 1).astype(np.float32)
    return curve


def _sampled(tag: bytes, values: Floats) -> Floats:
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return values
    samples = np.array(struct.unpack_from(f">{count}H", tag, 12), np.float64)
    if count == 1:
        gamma: Floats = values ** (samples[0] / 256.0)
        return gamma
    light: Floats = np.interp(values, np.linspace(0, 1, count), samples / _TOP)
    return light


def _parametric(tag: bytes, values: Floats) -> Floats:
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind >= len(_CURVE_PARAMETERS):
        raise ValueError("unknown curve")
    given = np.array(struct.unpack_from(f">{_CURVE_PARAMETERS[kind]}i", tag, 12)) / 65_536.0
    g, a, b, c, d, e, f = _as_general(kind, given)
    power: Floats = np.maximum(a * values + b, 0.0) ** g
    return np.where(values >= d, power + e, c * values + f)


def _as_general(kind: int, given: Floats) -> tuple[float, ...]:
    """Bring every kind of parametric curve to the one with seven parameters."""
    g, a, b, c, d, e, f = (float(value) for value in np.pad(given, (0, 7 - len(given))))
    if kind == 0:
        return g, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    start = -b / a if a else 0.0
    if kind == 1:
        return g, a, b, 0.0, start, 0.0, 0.0
    if kind == 2:
        return g, a, b, 0.0, start, c, c
    return g, a, b, c, d, e, f
