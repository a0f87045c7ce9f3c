# SPDX-License-Identifier: Apache-2.0
"""Plots as inline SVG, coloured by the page's style sheet: lines, points and bars on one pair of axes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 14, 44
# About how wide a capital letter is, in pixels.
_CHARACTER = 7.5
# A smaller span counts as zero.
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Line:
    """A line of points in data units; a gap is left at None.

    `color` is a class of the page, `c0` to `c7`. A `wide` line shines through one drawn over it.
    """

    name: str
    points: Sequence[Point | None]
    color: str = "c0"
    dashed: bool = False
    dotted_points: bool = False
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its title, whether it is logarithmic, where it starts and at least ends, how ticks are written."""

    title: str
    log: bool = False
    start: float | None = 0.0
    end: float | None = None
    write: Callable[[float], str] | None = None

    def label(self, value: float) -> str:
        """Write a tick."""
        return (self.write or number)(value)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps data to pixels."""

    low: float
    high: float
    pixel_low: float
    pixel_high: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, here = self.low, self.high, value
        if self.log:
            low, high, here = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        share = (here - low) / (high - low)
        return self.pixel_low + (self.pixel_high - self.pixel_low) * min(max(share, 0.0), 1.0)

    def ticks(self) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


@dataclass(frozen=True, slots=True)
class _Frame:
    x: Scale
    y: Scale
    parts: list[str] = field(default_factory=list)


def line_plot(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """Draw lines; empty where there is nothing to draw."""
    points = [point for line in lines for point in line.points if point is not None]
    if not points:
        return ""
    frame = _frame([px for px, _ in points], [py for _, py in points], x, y)
    frame.parts.extend(_axes(frame, x, y))
    for line in lines:
        frame.parts.extend(_drawn(frame, line, x, y))
    return _figure(title, frame.parts, [(line.name, f"{line.color}{_swatch(line)}") for line in lines])


def bar_plot(
    title: str, groups: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], y: Axis, x_title: str
) -> str:
    """Draw groups of bars side by side: (label, one value a name)."""
    if not any(value for _, values in groups for value in values):
        return ""
    top = max(value for _, values in groups for value in values)
    y_scale = Scale(0.0, _ceiling(top), _HEIGHT - _BOTTOM, _TOP)
    parts = _grid(y_scale, y)
    slot = (_WIDTH - _LEFT - _RIGHT) / len(groups)
    # Labels that would run into each other stand on two lines in turn.
    crowded = max(len(label) for label, _ in groups) * _CHARACTER > slot
    width = min(slot * 0.8 / len(names), 60)
    for position, (label, values) in enumerate(groups):
        middle = _LEFT + slot * (position + 0.5)
        for index, value in enumerate(values):
            left = middle + (index - len(names) / 2) * width
            height = y_scale.pixel_low - y_scale.at(value)
            parts.append(
                f'<rect class="c{index % 8} fill" x="{left:.1f}" y="{y_scale.at(value):.1f}" '
                f'width="{width * 0.92:.1f}" height="{height:.1f}"><title>{escape(names[index])}, {escape(label)}: '
                f"{number(value)}</title></rect>"
            )
        line = position % 2 if crowded else 0
        parts.append(_text(middle, _HEIGHT - _BOTTOM + 16 + 14 * line, label, "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_title, "middle"))
    return _figure(title, parts, [(name, f"c{index % 8}") for index, name in enumerate(names)])


def linear_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round values between two ends, about `count` of them."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / count))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= count:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(step * index, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values between two positive ends: the fewer powers of ten they span, the more of each."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 3, 5, 7) if len(decades) <= 2 else (1, 2, 5) if len(decades) <= 4 else (1,)
    values = [factor * 10.0**decade for decade in decades for factor in factors]
    return [value for value in values if low * 0.999 <= value <= high * 1.001]


def number(value: float) -> str:
    """Write a number with as many digits as matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _frame(xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis) -> _Frame:
    return _Frame(
        Scale(*_ends(xs, x), _LEFT, _WIDTH - _RIGHT, x.log), Scale(*_ends(ys, y), _HEIGHT - _BOTTOM, _TOP, y.log)
    )


def _ends(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    if axis.log:
        positive = [value for value in values if value > _TINY] or [1.0]
        low, high = min(positive), max(*positive, axis.end or 0.0)
        return (low * 0.9, high * 1.1) if high > low else (low / 2, high * 2)
    low = min(values) if axis.start is None else axis.start
    high = max(*values, axis.end if axis.end is not None else low)
    return low, (high if axis.end is not None and high == axis.end else _ceiling(high - low) + low)


def _ceiling(value: float) -> float:
    """Return a little more than the value, so that the highest point is not at the very edge."""
    return value * 1.06 if value > _TINY else 1.0


def _axes(frame: _Frame, x: Axis, y: Axis) -> list[str]:
    parts = _grid(frame.y, y)
    for value in frame.x.ticks():
        px = frame.x.at(value)
        parts.append(f'<line class="grid" x1="{px:.1f}" x2="{px:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(_text(px, _HEIGHT - _BOTTOM + 16, x.label(value), "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x.title, "middle"))
    return parts


def _grid(scale: Scale, axis: Axis) -> list[str]:
    parts: list[str] = []
    for value in scale.ticks():
        py = scale.at(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{py:.1f}" y2="{py:.1f}"/>')
        parts.append(_text(_LEFT - 8, py + 4, axis.label(value), "end"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="title" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(axis.title)}</text>"
    )
    return parts


def _drawn(frame: _Frame, line: Line, x: Axis, y: Axis) -> list[str]:
    parts: list[str] = []
    run: list[str] = []
    for point in [*line.points, None]:
        if point is not None:
            px, py = frame.x.at(point[0]), frame.y.at(point[1])
            run.append(f"{px:.1f},{py:.1f}")
            if line.dotted_points:
                label = f"{line.name}: {number(point[1])} at {number(point[0])}"
                circle = f'<circle class="{line.color} fill" cx="{px:.1f}" cy="{py:.1f}" r="4">'
                parts.append(f"{circle}<title>{escape(label)}</title></circle>")
            continue
        if len(run) > 1:
            dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
            parts.append(
                f'<polyline class="{line.color} line{" wide" if line.wide else ""}" points="{" ".join(run)}"{dashes}/>'
            )
        run = []
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _swatch(line: Line) -> str:
    """Return the classes that make a line's key look like the line."""
    return f"{' dash' if line.dashed else ''}{' broad' if line.wide else ''}{' points' if line.dotted_points else ''}"


def _figure(title: str, parts: Sequence[str], legend: Sequence[tuple[str, str]]) -> str:
    keys = "".join(f'<span class="key"><i class="{classes}"></i>{escape(name)}</span>' for name, classes in legend)
    keys = f'<div class="keys">{keys}</div>' if len(legend) > 1 else ""
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{keys}"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )
