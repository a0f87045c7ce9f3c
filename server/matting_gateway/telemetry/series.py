# SPDX-License-Identifier: Apache-2.0
"""Counters and histograms of the event loop: exposed by prometheus_client, counted by plain additions.

The library's own take a lock for each number and look through all buckets, as any thread may use them: a
dozen of them a call cost 5% of it. These are changed on the event loop only, and read by any thread.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily

from matting_gateway.traces import Trace

Labels = tuple[str, ...]
T = TypeVar("T")


class CounterSeries:
    """One counter. Owns its value, which only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount


class Counter:
    """A family of counters, by their labels."""

    def __init__(self, name: str, text: str, labels: Labels, *, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._label_names = labels
        self._series: dict[Labels, CounterSeries] = {}
        registry.register(self)

    def labels(self, *values: str) -> CounterSeries:
        """Return the series of these labels, which is there from then on."""
        return _series_of(self._series, values, self._label_names, CounterSeries)

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._text, labels=self._label_names)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._label_names)
        for values, series in tuple(self._series.items()):
            family.add_metric(values, series.value)
        yield family


class ReadCounter:
    """A counter without labels that its owner keeps: read when metrics are, on their thread."""

    def __init__(self, name: str, text: str, *, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._read: Callable[[], float] = lambda: 0.0
        registry.register(self)

    def read_from(self, read: Callable[[], float]) -> None:
        self._read = read

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._text)

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._text, value=self._read())


class HistogramSeries:
    """One histogram. Owns the count of each bucket, the last being all that is over the bounds, and the sum.

    Of each bucket it has the last trace that took so long, whose ids are shown in the OpenMetrics form alone.
    """

    __slots__ = ("_bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, tuple[Trace, float]] = {}

    def observe(self, amount: float, trace: Trace | None = None) -> None:
        bucket = bisect_left(self._bounds, amount)
        self.counts[bucket] += 1
        self.total += amount
        if trace is not None:
            self.exemplars[bucket] = trace, amount


class Histogram:
    """A family of histograms, by their labels."""

    def __init__(
        self, name: str, text: str, labels: Labels = (), *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._text = text
        self._label_names = labels
        self._bounds = tuple(map(float, buckets))
        self._series: dict[Labels, HistogramSeries] = {}
        registry.register(self)

    def labels(self, *values: str) -> HistogramSeries:
        """Return the series of these labels, which is there from then on."""
        return _series_of(self._series, values, self._label_names, lambda: HistogramSeries(self._bounds))

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._text, labels=self._label_names)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._label_names)
        names = [*map(repr, self._bounds), "+Inf"]
        for values, series in tuple(self._series.items()):
            count = 0
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for bucket, (name, own) in enumerate(zip(names, tuple(series.counts), strict=True)):
                count += own
                shown = series.exemplars.get(bucket)
                if shown is None:
                    buckets.append((name, float(count)))
                else:
                    buckets.append((name, float(count), Exemplar(shown[0].exemplar, shown[1])))
            family.add_metric(values, buckets, series.total)
        yield family


def _series_of(known: dict[Labels, T], values: Labels, names: Labels, make: Callable[[], T]) -> T:
    series = known.get(values)
    if series is None:
        if len(values) != len(names):
            raise ValueError(f"the labels are {', '.join(names)}; {len(values)} values are given")
        series = known[values] = make()
    return series
