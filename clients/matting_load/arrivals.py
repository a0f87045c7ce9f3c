# SPDX-License-Identifier: Apache-2.0
"""When calls are to be sent: pure functions of a rate over time, a process and a seed.

A rate that changes over time is handled by the time-rescaling theorem: arrivals of unit rate are
mapped through the inverse of the cumulative rate, so that constant spacing and Poisson arrivals
(exponential gaps) work for steps, ramps and bursts alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Seconds: TypeAlias = npt.NDArray[np.float64]
Process: TypeAlias = Literal["constant", "poisson"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which the rate goes linearly from one value to another, per second."""

    start_rate: float
    end_rate: float
    duration_s: float

    def __post_init__(self) -> None:
        if not 0 < self.duration_s < math.inf:
            raise ValueError(f"a segment lasts {self.duration_s} s: it must be more than 0, and end")
        if not all(0 <= rate < math.inf for rate in (self.start_rate, self.end_rate)):
            raise ValueError(f"a rate of {self.start_rate:g} to {self.end_rate:g} a second: it must be 0 or more")

    @property
    def expected_count(self) -> float:
        return (self.start_rate + self.end_rate) / 2 * self.duration_s


def steady(rate: float, duration_s: float) -> tuple[Segment, ...]:
    """One rate throughout."""
    return (Segment(rate, rate, duration_s),)


def steps(rates: Sequence[float], step_s: float) -> tuple[Segment, ...]:
    """One rate after another, each for the same time."""
    return tuple(Segment(rate, rate, step_s) for rate in rates)


def ramp(start_rate: float, end_rate: float, duration_s: float) -> tuple[Segment, ...]:
    """Linearly from one rate to another."""
    return (Segment(start_rate, end_rate, duration_s),)


def bursts(rate: float, on_s: float, off_s: float, duration_s: float) -> tuple[Segment, ...]:
    """On at a rate, then nothing, over and over, until the duration is full."""
    if not on_s > 0 or off_s < 0:
        raise ValueError(f"bursts of {on_s} s every {on_s + off_s} s: on must be more than 0, off at least 0")
    segments: list[Segment] = []
    left_s = duration_s
    while left_s > 1e-9:
        segments.append(Segment(rate, rate, min(on_s, left_s)))
        left_s -= on_s
        if off_s > 0 and left_s > 1e-9:
            segments.append(Segment(0.0, 0.0, min(off_s, left_s)))
            left_s -= off_s
    return tuple(segments)


def before(segments: Sequence[Segment], end_s: float) -> tuple[Segment, ...]:
    """Return what of the segments comes before an instant."""
    kept: list[Segment] = []
    start_s = 0.0
    for segment in segments:
        part = min(1.0, (end_s - start_s) / segment.duration_s)
        if part <= 0:
            break
        end_rate = segment.start_rate + (segment.end_rate - segment.start_rate) * part
        kept.append(Segment(segment.start_rate, end_rate, segment.duration_s * part))
        start_s += segment.duration_s
    return tuple(kept)


def arrival_times(segments: Sequence[Segment], process: Process, rng: np.random.Generator) -> Seconds:
    """Return the times to send at, in seconds from the start, ascending."""
    total = sum(segment.expected_count for segment in segments)
    return _at_cumulative(segments, _unit_arrivals(total, process, rng))


def read_trace(path: str | Path, speed: float = 1.0) -> Seconds:
    """Read times to send at: a number a line, in seconds; they are shifted to start at 0 and divided by `speed`.

    Raises:
        ValueError: A line is no number, or the file holds none.
        OSError: The file cannot be read.
    """
    lines = [line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    try:
        times = np.sort(np.array([float(line.split(",")[0]) for line in lines if line], dtype=np.float64))
    except ValueError as error:
        raise ValueError(f"{path} is no trace: a time in seconds a line ({error})") from error
    if not times.size:
        raise ValueError(f"{path} holds no times")
    if not speed > 0:
        raise ValueError(f"speed is {speed}: it must be more than 0")
    shifted: Seconds = (times - times[0]) / speed
    return shifted


def _unit_arrivals(total: float, process: Process, rng: np.random.Generator) -> Seconds:
    """Return arrivals at rate 1 in [0, total)."""
    if process == "constant":
        return np.arange(0.0, total - 1e-9, 1.0)
    # Enough gaps that running out is out of the question: mean + 10 standard deviations.
    count = int(total + 10 * total**0.5 + 10)
    times = np.cumsum(rng.exponential(1.0, count))
    kept: Seconds = times[times < total]
    return kept


def _at_cumulative(segments: Sequence[Segment], cumulative: Seconds) -> Seconds:
    """Return the times by which the given expected numbers of calls have been sent."""
    times = np.empty_like(cumulative)
    start_s = before = 0.0
    for segment in segments:
        after = before + segment.expected_count
        inside = (cumulative >= before) & (cumulative < after)
        times[inside] = start_s + _inverse(segment, cumulative[inside] - before)
        start_s += segment.duration_s
        before = after
    return times


def _inverse(segment: Segment, count: Seconds) -> Seconds:
    """Solve start*t + slope*t^2/2 = count for t, in the form that does not cancel."""
    slope = (segment.end_rate - segment.start_rate) / segment.duration_s
    root = np.sqrt(np.maximum(segment.start_rate**2 + 2 * slope * count, 0.0))
    denominator = segment.start_rate + root
    solved: Seconds = np.divide(2 * count, denominator, out=np.zeros_like(count), where=denominator > 0)
    return solved
