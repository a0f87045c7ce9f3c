# SPDX-License-Identifier: Apache-2.0
"""Every format and variant that is read, against a straightforward float reference of the same picture."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from matting_gateway.imaging.formats import ImageFormat
from numpy.typing import NDArray
from PIL import Image, features
from testkit.decoding import ALL_FORMATS, allowing_animations, prepared
from testkit.pngs import write_png
from testkit.profiles import GAMMA, encode_srgb, gray_profile, rgb_profile, wide_to_srgb

Floats = NDArray[np.float64]
HEIGHT, WIDTH = 48, 64
BT601 = np.array([0.299, 0.587, 0.114])


def picture() -> Floats:
    """A smooth colour picture [H, W, 3], 0 to 1, different at each corner."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    rows, columns = rows / (HEIGHT - 1), columns / (WIDTH - 1)
    return np.stack([0.1 + 0.8 * columns, 0.2 + 0.6 * rows, 0.8 - 0.5 * rows * columns], axis=-1)


def transparency() -> Floats:
    """A smooth alpha [H, W], 0 to 1."""
    alpha: Floats = np.clip(np.mgrid[:HEIGHT, :WIDTH][1] / (WIDTH - 1) * 1.4 - 0.2, 0, 1)
    return alpha


def gray() -> Floats:
    return np.repeat((picture() @ BT601)[..., None], 3, axis=-1)


def bytes_of(values: Floats) -> NDArray[np.uint8]:
    return np.rint(values * 255).astype(np.uint8)


def levels(values: Floats, bits: int) -> NDArray[np.uint16]:
    return np.rint(values * ((1 << bits) - 1)).astype(np.uint16)


def pillow(values: NDArray[Any], image_format: str, mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(values)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, image_format, **options)
    return out.getvalue()


@dataclass(frozen=True)
class Variant:
    """A file, what it shows, and how far a decoded sample may be off on average (0 to 1)."""

    content: Callable[[], bytes]
    color: Callable[[], Floats] = picture
    alpha: Callable[[], Floats] | None = None
    tolerance: float = 0.002
    deep: bool = False


def rgb() -> NDArray[np.uint8]:
    return bytes_of(picture())


def rgba() -> NDArray[np.uint8]:
    return np.dstack([rgb(), bytes_of(transparency())])


def cmyk_jpeg() -> bytes:
    return _cmyk(255 - rgb())


def _cmyk(inks: NDArray[np.uint8]) -> bytes:
    image = Image.merge("CMYK", [*(Image.fromarray(np.ascontiguousarray(inks[..., i])) for i in range(3)), _black()])
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def _black() -> Image.Image:
    return Image.new("L", (WIDTH, HEIGHT), 0)


def ycck_jpeg() -> bytes:
    """Adobe's YCCK: CMY inverted, as YCbCr, and K; Pillow writes CMYK, so its marker is patched to say YCCK."""
    ycc = np.asarray(Image.fromarray(255 - rgb()).convert("YCbCr"))
    # Pillow inverts what it writes as CMYK.
    content = bytearray(_cmyk(255 - ycc))
    marker = content.index(b"Adobe")
    content[marker + 11] = 2
    return bytes(content)


def palette_png(bits: int, with_alpha: bool) -> bytes:
    count = 2**bits
    index = np.rint(np.mgrid[:HEIGHT, :WIDTH][1] / (WIDTH - 1) * (count - 1)).astype(np.uint16)[..., None]
    colors = bytes(value for entry in range(count) for value in _entry(entry, count))
    extra = [(b"PLTE", colors)]
    if with_alpha:
        extra.append((b"tRNS", bytes(255 * entry // (count - 1) for entry in range(count))))
    return write_png(index, 3, bits, before=extra)


def _entry(entry: int, count: int) -> tuple[int, int, int]:
    return 255 * entry // (count - 1), 40, 255 - 255 * entry // (count - 1)


def palette_color(bits: int) -> Floats:
    count = 2**bits
    index = np.rint(np.mgrid[:HEIGHT, :WIDTH][1] / (WIDTH - 1) * (count - 1)).astype(int)
    colors: Floats = np.array([_entry(entry, count) for entry in range(count)])[index] / 255.0
    return colors


def palette_alpha(bits: int) -> Floats:
    count = 2**bits
    index = np.rint(np.mgrid[:HEIGHT, :WIDTH][1] / (WIDTH - 1) * (count - 1)).astype(int)
    alpha: Floats = np.array([255 * entry // (count - 1) for entry in range(count)])[index] / 255.0
    return alpha


def gray_png(bits: int, **options: Any) -> bytes:
    return write_png(levels(gray()[..., :1], bits), 0, bits, **options)


def quantised_gray(bits: int) -> Floats:
    return levels(gray(), bits) / (2.0**bits - 1)


def keyed_png(color_type: int, bits: int) -> bytes:
    """A PNG with one transparent colour: that of its first pixel."""
    samples = levels(picture() if color_type == 2 else gray()[..., :1], bits)
    return write_png(
        samples, color_type, bits, before=[(b"tRNS", b"".join(struct.pack(">H", v) for v in samples[0, 0]))]
    )


def keyed_alpha(color_type: int, bits: int) -> Floats:
    samples = levels(picture() if color_type == 2 else gray()[..., :1], bits)
    alpha: Floats = 1.0 - (samples == samples[0, 0]).all(axis=-1)
    return alpha


def png(values: Floats, color_type: int, bits: int, **options: Any) -> bytes:
    return write_png(levels(values, bits), color_type, bits, **options)


def with_alpha(values: Floats) -> Floats:
    return np.concatenate([values, transparency()[..., None]], axis=-1)


def png_icc(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"test\x00\x00" + zlib.compress(profile)


def wide() -> Floats:
    return wide_to_srgb(rgb() / 255.0)


def gray_by_profile() -> Floats:
    return encode_srgb((bytes_of(gray()) / 255.0) ** GAMMA)


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    return pillow(values, "TIFF", **options)


def opencv(extension: str, values: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(extension, values)[1])


JPEGS = {
    "baseline 4:2:0": Variant(lambda: pillow(rgb(), "JPEG", quality=92), tolerance=0.01),
    "baseline 4:4:4": Variant(lambda: pillow(rgb(), "JPEG", quality=95, subsampling=0), tolerance=0.008),
    "progressive": Variant(lambda: pillow(rgb(), "JPEG", quality=92, progressive=True), tolerance=0.01),
    "gray": Variant(lambda: pillow(bytes_of(gray()[..., 0]), "JPEG", quality=95), gray, tolerance=0.008),
    "RGB by Adobe marker": Variant(lambda: pillow(rgb(), "JPEG", quality=95, keep_rgb=True), tolerance=0.008),
    "CMYK": Variant(cmyk_jpeg, tolerance=0.01),
    "YCCK": Variant(ycck_jpeg, tolerance=0.015),
    "restart intervals": Variant(lambda: pillow(rgb(), "JPEG", quality=92, restart_marker_blocks=1), tolerance=0.01),
    "wide gamut": Variant(
        lambda: pillow(rgb(), "JPEG", quality=96, subsampling=0, icc_profile=rgb_profile()), wide, tolerance=0.01
    ),
    "gray profile": Variant(
        lambda: pillow(bytes_of(gray()[..., 0]), "JPEG", quality=96, icc_profile=gray_profile()),
        gray_by_profile,
        tolerance=0.01,
    ),
    "broken profile": Variant(
        lambda: pillow(rgb(), "JPEG", quality=92, icc_profile=rgb_profile()[:200] + bytes(60)), tolerance=0.01
    ),
    "profile of another space": Variant(
        lambda: pillow(rgb(), "JPEG", quality=92, icc_profile=gray_profile()), tolerance=0.01
    ),
}
PNGS = {
    **{
        f"gray {bits}": Variant(partial(gray_png, bits), partial(quantised_gray, bits), deep=bits == 16)
        for bits in (1, 2, 4, 8, 16)
    },
    **{
        f"palette {bits}": Variant(partial(palette_png, bits, False), partial(palette_color, bits))
        for bits in (1, 2, 4, 8)
    },
    **{
        f"palette {bits} with tRNS": Variant(
            partial(palette_png, bits, True),
            partial(palette_color, bits),
            partial(palette_alpha, bits),
        )
        for bits in (1, 2, 4, 8)
    },
    **{f"RGB {bits}": Variant(partial(png, picture(), 2, bits), deep=bits == 16) for bits in (8, 16)},
    **{
        f"RGBA {bits}": Variant(partial(png, with_alpha(picture()), 6, bits), alpha=transparency, deep=bits == 16)
        for bits in (8, 16)
    },
    **{
        f"gray and alpha {bits}": Variant(
            partial(png, with_alpha(gray()[..., :1]), 4, bits), gray, transparency, deep=bits == 16
        )
        for bits in (8, 16)
    },
    **{
        f"type {kind}, {bits} bits, tRNS": Variant(
            partial(keyed_png, kind, bits),
            picture if kind == 2 else partial(quantised_gray, bits),
            partial(keyed_alpha, kind, bits),
            deep=bits == 16,
        )
        for kind, bits in ((0, 4), (0, 8), (0, 16), (2, 8), (2, 16))
    },
    "interlaced": Variant(lambda: png(picture(), 2, 8, interlaced=True)),
    "interlaced 16": Variant(lambda: png(with_alpha(picture()), 6, 16, interlaced=True), alpha=transparency, deep=True),
    "interlaced gray 2": Variant(lambda: gray_png(2, interlaced=True), lambda: quantised_gray(2)),
    "wide gamut": Variant(lambda: png(picture(), 2, 8, before=[png_icc(rgb_profile())]), wide, tolerance=0.005),
    "wide gamut 16": Variant(
        lambda: png(picture(), 2, 16, before=[png_icc(rgb_profile())]), wide, tolerance=0.005, deep=True
    ),
    "wide gamut with alpha": Variant(
        lambda: png(with_alpha(picture()), 6, 8, before=[png_icc(rgb_profile())]),
        wide,
        transparency,
        tolerance=0.005,
    ),
    "broken profile": Variant(lambda: png(picture(), 2, 8, before=[(b"iCCP", b"x\x00\x00junk")])),
}
OTHERS = {
    "WebP lossy": Variant(lambda: pillow(rgb(), "WEBP", quality=95), tolerance=0.015),
    "WebP lossless": Variant(lambda: pillow(rgb(), "WEBP", lossless=True)),
    "WebP lossy with alpha": Variant(
        lambda: pillow(rgba(), "WEBP", quality=95, exact=True), alpha=transparency, tolerance=0.015
    ),
    "WebP lossless with alpha": Variant(lambda: pillow(rgba(), "WEBP", lossless=True, exact=True), alpha=transparency),
    "WebP wide gamut": Variant(
        lambda: pillow(rgb(), "WEBP", lossless=True, icc_profile=rgb_profile()), wide, tolerance=0.005
    ),
    "AVIF": Variant(lambda: pillow(rgb(), "AVIF", quality=90), tolerance=0.015),
    "AVIF with alpha": Variant(lambda: pillow(rgba(), "AVIF", quality=90), alpha=transparency, tolerance=0.02),
    "AVIF wide gamut": Variant(
        lambda: pillow(rgb(), "AVIF", quality=95, subsampling="4:4:4", icc_profile=rgb_profile()),
        wide,
        tolerance=0.015,
    ),
    "GIF": Variant(lambda: pillow(rgb(), "GIF"), tolerance=0.05),
    "TIFF": Variant(lambda: tiff(rgb())),
    "TIFF LZW": Variant(lambda: tiff(rgb(), compression="tiff_lzw")),
    "TIFF deflate": Variant(lambda: tiff(rgb(), compression="tiff_adobe_deflate")),
    "TIFF JPEG": Variant(lambda: tiff(rgb(), compression="jpeg", quality=95), tolerance=0.015),
    "TIFF RGBA": Variant(lambda: tiff(rgba()), alpha=transparency),
    "TIFF gray 16": Variant(lambda: tiff(levels(gray()[..., 0], 16)), gray, deep=True),
    "TIFF RGB 16": Variant(lambda: opencv(".tiff", levels(picture()[..., ::-1], 16)), deep=True),
    "TIFF bilevel": Variant(
        lambda: pillow(bytes_of(quantised_gray(1)[..., 0]), "TIFF", "1", compression="group4"),
        lambda: quantised_gray(1),
    ),
    "TIFF CMYK": Variant(lambda: pillow(rgb(), "TIFF", "CMYK"), tolerance=0.004),
    "BMP": Variant(lambda: pillow(rgb(), "BMP")),
    "BMP gray": Variant(lambda: pillow(bytes_of(gray()[..., 0]), "BMP"), gray),
    "BMP 32": Variant(lambda: opencv(".bmp", rgba()[..., [2, 1, 0, 3]]), alpha=transparency),
}
if ImageFormat.HEIC in ALL_FORMATS:
    OTHERS |= {
        "HEIC": Variant(lambda: pillow(rgb(), "HEIF", quality=90), tolerance=0.02),
        "HEIC with alpha": Variant(lambda: pillow(rgba(), "HEIF", quality=90), alpha=transparency, tolerance=0.02),
    }
VARIANTS = (
    {f"JPEG {name}": variant for name, variant in JPEGS.items()}
    | {f"PNG {name}": variant for name, variant in PNGS.items()}
    | OTHERS
)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_decodes_to_what_it_shows(name: str) -> None:
    variant = VARIANTS[name]
    result = prepared(variant.content())
    assert result.color is not None
    expected_dtype = np.uint16 if variant.deep else np.uint8
    assert result.color.dtype == expected_dtype
    top = float(np.iinfo(result.color.dtype).max)
    alpha = variant.alpha() if variant.alpha else np.ones((HEIGHT, WIDTH))
    shown = alpha > 0.01
    assert np.abs(result.color / top - variant.color())[shown].mean() < variant.tolerance
    if variant.alpha is None:
        assert result.alpha is None or (result.alpha == top).all()
    else:
        assert result.alpha is not None
        assert np.abs(result.alpha / top - alpha).mean() < variant.tolerance


@pytest.mark.parametrize("name", VARIANTS)
def test_the_model_sees_the_variant_averaged_and_over_white(name: str) -> None:
    variant = VARIANTS[name]
    result = prepared(variant.content())
    assert result.model_pixels is not None
    alpha = variant.alpha()[..., None] if variant.alpha else np.ones((HEIGHT, WIDTH, 1))
    shown = variant.color() * alpha + 1 - alpha
    reference = cv2.resize(shown, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(result.model_pixels / 255.0 - reference).mean() < variant.tolerance + 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_orientation_is_applied(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"quality": 92} if image_format in ("JPEG", "AVIF") else {}
    result = prepared(pillow(rgb(), image_format, exif=exif, **options))
    flips = {
        1: [],
        2: ["lr"],
        3: ["lr", "ud"],
        4: ["ud"],
        5: ["t"],
        6: ["t", "lr"],
        7: ["t", "lr", "ud"],
        8: ["t", "ud"],
    }
    expected = picture()
    for flip in flips[orientation]:
        expected = {"lr": np.fliplr, "ud": np.flipud, "t": lambda x: x.transpose(1, 0, 2)}[flip](expected)
    assert result.color is not None
    assert result.color.shape == expected.shape
    assert np.abs(result.color / 255.0 - expected).mean() < 0.015


def test_the_first_frame_of_an_animation_is_taken_where_the_operator_allows_it() -> None:
    frames = [Image.fromarray(rgb()), Image.fromarray(255 - rgb())]
    for image_format in ("GIF", "WEBP", "PNG", "TIFF"):
        out = io.BytesIO()
        frames[0].save(out, image_format, save_all=True, append_images=frames[1:], lossless=True)
        result = prepared(out.getvalue(), settings=allowing_animations())
        assert result.color is not None
        assert np.abs(result.color / 255.0 - picture()).mean() < 0.05, image_format


def test_the_libraries_that_the_table_needs_are_there() -> None:
    assert all(features.check(name) for name in ("webp", "avif", "littlecms2"))
