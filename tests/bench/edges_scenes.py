# SPDX-License-Identifier: Apache-2.0
"""Pictures whose true alpha and true foreground are known: six kinds of subject, drawn over ten sample photos.

Hair, fur, petals, glass, holes and motion blur. A subject is drawn at twice the size: its colour larger than it is,
its alpha just as it is. Made small, both are laid over a background that is out of focus as behind a portrait, and the
noise and the JPEG of a camera come last. The same seed gives the same picture.
"""

import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from bench.edges_photos import ASTRONAUT, BACKGROUNDS, CAT, CUP, SAMPLES, Background, PhotoCut
from numpy.typing import NDArray
from PIL import Image
from testkit.hair import Scene

_SIZES = ((800, 600), (640, 640), (600, 900), (1200, 900), (900, 600), (1600, 1200))
_OVER = 2
_COUNTS = {"hair": 6, "fur": 6, "petals": 6, "motion blur": 6, "glass": 4, "holes": 4}
# So that no subject is laid over the photo that it is of.
_FIRST_BACKGROUND = {"hair": 4, "fur": 0, "petals": 8, "glass": 2, "holes": 5, "motion blur": 1}

Rng = np.random.Generator
Picture = NDArray[np.uint8]


@dataclass
class Canvas:
    """Colour [H, W, 3] and alpha [H, W] uint8 of a subject while it is drawn, at twice its size."""

    color: Picture
    alpha: Picture

    @property
    def size(self) -> NDArray[np.float64]:
        return np.array([self.alpha.shape[1], self.alpha.shape[0]], np.float64)

    @property
    def unit(self) -> float:
        return float(self.size.min())

    def fill(self, points: NDArray[np.float64], color: tuple[int, int, int], opacity: int = 255) -> None:
        at = np.rint(points * 16).astype(np.int32)
        cv2.fillPoly(self.color, [at], color, cv2.LINE_8, 4)
        cv2.polylines(self.color, [at], True, color, 8, cv2.LINE_8, 4)
        shape = np.zeros_like(self.alpha)
        cv2.fillPoly(shape, [at], 255, cv2.LINE_AA, 4)
        self._cover(shape, opacity)

    def stroke(self, points: NDArray[np.float64], color: tuple[int, int, int], width_px: int, opacity: int) -> None:
        at = np.rint(points * 16).astype(np.int32)
        cv2.polylines(self.color, [at], False, color, width_px + 4, cv2.LINE_8, 4)
        low, high = at.min(0) // 16 - width_px - 2, at.max(0) // 16 + width_px + 3
        low, high = np.maximum(low, 0), np.minimum(high, self.size.astype(int))
        if (high <= low).any():
            return
        window = self.alpha[low[1] : high[1], low[0] : high[0]]
        shape = np.zeros_like(window)
        cv2.polylines(shape, [at - low * 16], False, 255, width_px, cv2.LINE_AA, 4)
        window[:] = np.maximum(window, cv2.multiply(shape, np.full_like(shape, opacity), scale=1 / 255))

    def _cover(self, shape: Picture, opacity: int) -> None:
        np.maximum(self.alpha, cv2.multiply(shape, np.full_like(shape, opacity), scale=1 / 255), out=self.alpha)


def scenes() -> Iterator[tuple[str, Scene]]:
    """Yield the pictures with their names, kind by kind, over ten backgrounds, 0.4 to 1.9 megapixels."""
    for kind, count in _COUNTS.items():
        for variant in range(count):
            background = BACKGROUNDS[(_FIRST_BACKGROUND[kind] + variant) % len(BACKGROUNDS)]
            width, height = _SIZES[(variant + list(KINDS).index(kind)) % len(_SIZES)]
            name = f"{kind} {variant + 1} over {pathlib.Path(background.file).stem}"
            yield name, scene(kind, variant, background, width, height)


def scene(kind: str, variant: int, background: Background, width_px: int, height_px: int) -> Scene:
    """Draw one picture."""
    rng = np.random.default_rng(1000 * list(KINDS).index(kind) + variant)
    shape = (height_px * _OVER, width_px * _OVER)
    canvas = Canvas(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8))
    canvas.color[:] = 128
    KINDS[kind](canvas, rng, variant)
    color = _textured(canvas.color, rng).astype(np.float32)
    alpha = canvas.alpha.astype(np.float32) / np.float32(255)
    if kind == "motion blur":
        color, alpha = _moved(color, alpha, rng)
    size = (width_px, height_px)
    alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    large = cv2.resize(alpha, shape[::-1]).astype(np.float32)
    weighted = cv2.resize(color * _unsqueeze(large), size, interpolation=cv2.INTER_AREA)
    plain = cv2.resize(color, size, interpolation=cv2.INTER_AREA)
    foreground = np.where(alpha[..., None] > 0.05, weighted / np.maximum(alpha, 0.05)[..., None], plain).clip(0, 255)
    return _photographed(foreground, alpha, _background(background, size), rng, jpeg=bool(variant % 2))


def _photographed(
    foreground: NDArray[np.float32], alpha: NDArray[np.float32], behind: NDArray[np.float32], rng: Rng, *, jpeg: bool
) -> Scene:
    true_alpha = np.rint(alpha * 255).astype(np.uint8)
    weight = _unsqueeze(true_alpha.astype(np.float32) / np.float32(255))
    mixed = foreground * weight + behind * (1 - weight)
    mixed += rng.normal(0, 2.0, alpha.shape)[..., None] + rng.normal(0, 0.7, mixed.shape)
    photo = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    if jpeg:
        file = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        read = cv2.imdecode(file, cv2.IMREAD_COLOR)
        assert read is not None
        photo = np.ascontiguousarray(read[..., ::-1], np.uint8)
    return Scene(photo, true_alpha, foreground.astype(np.float32))


def _background(background: Background, size: tuple[int, int]) -> NDArray[np.float32]:
    with Image.open(SAMPLES / background.file) as image:
        picture = np.asarray(image.convert("RGB").crop(background.box))
    scale = max(size[0] / picture.shape[1], size[1] / picture.shape[0])
    large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    left, top = (large.shape[1] - size[0]) // 2, (large.shape[0] - size[1]) // 2
    cut = large[top : top + size[1], left : left + size[0]].astype(np.float32)
    sigma = background.blur * max(size) / 1000
    return cv2.GaussianBlur(cut, (0, 0), sigma).astype(np.float32) if sigma else cut


def _textured(color: Picture, rng: Rng) -> Picture:
    height, width = color.shape[:2]
    fine = cv2.GaussianBlur(rng.normal(0, 26, (height, width)).astype(np.float32), (0, 0), 2.0)
    coarse = cv2.resize(rng.normal(0, 10, (9, 12)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(color + (fine + coarse)[..., None], 0, 255).astype(np.uint8)


def _moved(
    color: NDArray[np.float32], alpha: NDArray[np.float32], rng: Rng
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blur along a line of a fortieth of the picture, colour weighted by alpha."""
    length = int(max(alpha.shape) / 40) | 1
    kernel = np.zeros((length, length), np.float32)
    at, half = rng.uniform(0, np.pi), length // 2
    step = np.array([np.cos(at), np.sin(at)]) * half
    cv2.line(kernel, tuple(np.rint(half - step).astype(int)), tuple(np.rint(half + step).astype(int)), 1.0)
    kernel /= kernel.sum()
    blurred = cv2.filter2D(alpha, -1, kernel).astype(np.float32)
    weighted = cv2.filter2D(color * alpha[..., None], -1, kernel).astype(np.float32)
    return np.where(blurred[..., None] > 0.01, weighted / np.maximum(blurred, 0.01)[..., None], color), blurred


def _unsqueeze(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    return alpha[..., None]


def _shade(color: tuple[int, int, int], rng: Rng, by: float) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(color) * (1 + rng.normal(0, by)) + rng.normal(0, 4), 0, 255)
    return int(red), int(green), int(blue)


def _ellipse(centre: NDArray[np.float64], radii: NDArray[np.float64], turn: float = 0.0) -> NDArray[np.float64]:
    at = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    points = np.stack([np.cos(at), np.sin(at)], axis=1) * radii
    turned: NDArray[np.float64] = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return centre + turned


def _curl(start: NDArray[np.float64], at: float, length: float, turn: float) -> NDArray[np.float64]:
    turns = at + np.linspace(0, turn, 20)
    return start + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0) * length / 20


def _paste(canvas: Canvas, cut: PhotoCut, rng: Rng, variant: int) -> NDArray[np.float64]:
    """Lay a part of a sample photo into the canvas, every other one mirrored; returns its outline there."""
    with Image.open(SAMPLES / cut.file) as image:
        photo = np.asarray(image.convert("RGB")).astype(np.float32)
    photo = (photo * rng.uniform(0.8, 1.15, 3)).clip(0, 255).astype(np.uint8)
    points = np.array([point.split(",") for point in cut.outline.split()], np.float64)
    if variant % 2:
        photo = np.ascontiguousarray(photo[:, ::-1])
        points[:, 0] = photo.shape[1] - 1 - points[:, 0]
    low, high = points.min(0), points.max(0)
    scale = float((canvas.size * [0.9, cut.height_share] / (high - low)).min())
    target = canvas.size * [0.5, 1.0 if cut.at_bottom else 0.5 + cut.height_share / 2] - scale * np.array(
        [(low[0] + high[0]) / 2, high[1]]
    )
    matrix = np.array([[scale, 0, target[0]], [0, scale, target[1]]])
    size = (int(canvas.size[0]), int(canvas.size[1]))
    canvas.color[:] = cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    points = points * scale + target
    outline = np.concatenate([points[:1], *(np.linspace(a, b, 16)[1:] for a, b in _sides(points))])
    cv2.fillPoly(canvas.alpha, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return outline


def _sides(points: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    return zip(points, np.roll(points, -1, axis=0), strict=True)


def _grow(
    canvas: Canvas, rng: Rng, roots: NDArray[np.float64], centre: NDArray[np.float64], count: int, length: float
) -> None:
    """Draw strands from around the roots outwards, each in a shade of what is where it grows."""
    source = cv2.GaussianBlur(canvas.color, (0, 0), 3)
    limit = np.array(source.shape[1::-1]) - 1
    for _ in range(count):
        start = roots[rng.integers(len(roots))] + rng.normal(0, 0.006 * canvas.unit, 2)
        inner = start + (centre - start) * 0.07
        column, row = np.clip(inner, 0, limit).astype(int)
        out = np.arctan2(*(start - centre)[::-1]) + rng.normal(0, 0.55)
        points = _curl(inner, out, length * rng.uniform(0.25, 1.0), rng.normal(0, 0.9))
        width = max(1, round(rng.uniform(0.8, 2.4) * canvas.unit / 1000))
        red, green, blue = map(int, source[row, column])
        canvas.stroke(points, _shade((red, green, blue), rng, 0.2), width, int(rng.uniform(120, 255)))


def draw_hair(canvas: Canvas, rng: Rng, variant: int) -> None:
    """Draw a woman with strands of hair that stand off."""
    outline = _paste(canvas, ASTRONAUT, rng, variant)
    top, height = outline[:, 1].min(), np.ptp(outline[:, 1])
    roots = outline[outline[:, 1] < top + 0.19 * height]
    centre = np.array([roots[:, 0].mean(), top + 0.14 * height])
    _grow(canvas, rng, roots, centre, 900, height * (0.12 + 0.03 * variant))


def draw_fur(canvas: Canvas, rng: Rng, variant: int) -> None:
    """Draw a cat whose whole outline is short fur."""
    outline = _paste(canvas, CAT, rng, variant)
    roots = outline[outline[:, 1] < outline[:, 1].max() - 2]
    _grow(canvas, rng, roots, outline.mean(0), 3500, canvas.unit * (0.03 + 0.008 * variant))


def draw_petals(canvas: Canvas, rng: Rng, variant: int) -> None:
    """Draw a flower: many thin pointed petals around its heart, on a stem with leaves."""
    petal = ((235, 60, 80), (250, 210, 60), (240, 240, 245), (170, 80, 200), (250, 140, 60), (90, 120, 230))[variant]
    unit, middle = canvas.unit, canvas.size * [0.5, 0.42]
    foot = np.array([canvas.size[0] * 0.52, canvas.size[1] * 0.97])
    stem = middle + np.linspace(0, 1, 20)[:, None] * (foot - middle)
    canvas.stroke(stem, (60, 120, 50), max(2, round(0.022 * unit)), 255)
    for side in (-1, 1):
        leaf = middle + 0.65 * (foot - middle) + unit * np.array([side * 0.1, -0.02])
        canvas.fill(_ellipse(leaf, unit * np.array([0.1, 0.03]), -side * 0.5), (70, 135, 60))
    count = 18 + 6 * variant
    for ring, reach in ((0, 0.34), (1, 0.27), (2, 0.19)):
        for index in range(count):
            at = 2 * np.pi * (index + ring / 2) / count + rng.normal(0, 0.05)
            along = np.array([np.cos(at), np.sin(at)])
            across = np.array([-along[1], along[0]])
            t = np.linspace(0, 1, 24)[:, None]
            width = unit * rng.uniform(0.014, 0.026) * np.sin(np.pi * t**0.8)
            spine = (
                middle + along * t * reach * unit * rng.uniform(0.88, 1.08) + across * t**2 * rng.normal(0, 0.02 * unit)
            )
            canvas.fill(
                np.concatenate([spine + across * width, (spine - across * width)[::-1]]), _shade(petal, rng, 0.13)
            )
    canvas.fill(_ellipse(middle, unit * np.array([0.07, 0.07])), (120, 80, 30))


def draw_glass(canvas: Canvas, rng: Rng, variant: int) -> None:
    """Draw a stemmed glass with drink in it: clear above, coloured and half clear below, its rims solid."""
    drink = ((130, 15, 35), (225, 165, 50), (230, 120, 60), (90, 20, 60), (190, 205, 120), (60, 90, 160))[variant]
    unit, middle = canvas.unit, canvas.size * [0.5, 0.36]
    bowl = unit * np.array([0.2, 0.27])
    canvas.fill(_ellipse(middle, bowl), (215, 225, 230), int(rng.uniform(60, 110)))
    lower = _ellipse(middle, bowl * 0.95)
    lower[:, 1] = np.maximum(lower[:, 1], middle[1] - 0.02 * unit)
    canvas.fill(lower, drink, int(rng.uniform(200, 240)))
    canvas.stroke(_ellipse(middle, bowl), (235, 240, 245), max(2, round(0.009 * unit)), 235)
    canvas.fill(_ellipse(middle + bowl * [-0.55, -0.1], bowl * [0.06, 0.45], 0.15), (250, 250, 252), 235)
    foot = middle + np.array([0, 0.56 * unit])
    stem = np.stack([middle + np.array([0, bowl[1]]), foot])
    canvas.stroke(stem, (205, 212, 218), max(3, round(0.022 * unit)), 225)
    canvas.fill(_ellipse(foot, unit * np.array([0.14, 0.025])), (210, 218, 224), 225)


def draw_holes(canvas: Canvas, rng: Rng, variant: int) -> None:
    """Draw a wheel, or a basket of crossing rods: what is behind shows through."""
    color = ((180, 40, 40), (60, 65, 70), (200, 160, 60), (40, 90, 160), (120, 70, 40), (230, 230, 232))[variant]
    unit, middle = canvas.unit, canvas.size / 2
    rod = max(3, round(0.016 * unit))
    if variant % 2:
        for offset in np.linspace(-0.3, 0.3, 6 + variant):
            for along in (np.array([1.0, 0.0]), np.array([0.0, 1.0])):
                start = middle + unit * (offset * along[::-1] - 0.3 * along)
                bars = start + np.linspace(0, 0.6, 20)[:, None] * unit * along
                canvas.stroke(bars + rng.normal(0, 0.002 * unit, bars.shape), _shade(color, rng, 0.1), 2 * rod, 255)
    else:
        for radius in (0.36, 0.24):
            canvas.stroke(_ellipse(middle, unit * np.array([radius, radius]))[np.r_[:96, 0]], color, 3 * rod, 255)
        for at in np.linspace(0, 2 * np.pi, 10 + variant, endpoint=False):
            along = np.array([np.cos(at), np.sin(at)])
            canvas.stroke(middle + np.linspace(0, 0.36, 12)[:, None] * unit * along, _shade(color, rng, 0.1), rod, 255)
    canvas.fill(_ellipse(middle, unit * np.array([0.09, 0.09])), _shade(color, rng, 0.2))


def draw_moving(canvas: Canvas, rng: Rng, variant: int) -> None:
    """Draw a cat or a cup that moves while the shutter is open."""
    if variant % 2:
        draw_fur(canvas, rng, variant)
    else:
        _paste(canvas, CUP, rng, variant // 2)


KINDS: dict[str, Callable[[Canvas, Rng, int], None]] = {
    "hair": draw_hair,
    "fur": draw_fur,
    "petals": draw_petals,
    "glass": draw_glass,
    "holes": draw_holes,
    "motion blur": draw_moving,
}
