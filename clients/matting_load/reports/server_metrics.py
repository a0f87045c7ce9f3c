# SPDX-License-Identifier: Apache-2.0
"""Batch sizes from a gateway's `/metrics`: the histogram before and after a test, subtracted."""

import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

# How many batches had at most so many photos, over all models; cumulative, by upper bound.
BatchSizes: TypeAlias = Mapping[float, float]


@dataclass(frozen=True, slots=True)
class Batches:
    """How many batches there were of each size, and how many photos in all of them."""

    sizes: BatchSizes = field(default_factory=dict)
    photo_count: float = 0.0

    def mean_since(self, before: "Batches") -> float | None:
        """Return the photos a batch since then; None where there was no batch."""
        count = self.sizes.get(float("inf"), 0.0) - before.sizes.get(float("inf"), 0.0)
        return (self.photo_count - before.photo_count) / count if count > 0 else None


_BUCKET = re.compile(r'^matting_batch_size_bucket\{.*?le="([^"]+)".*?\}\s+(\S+)', re.MULTILINE)
_SUM = re.compile(r"^matting_batch_size_sum(?:\{.*?\})?\s+(\S+)", re.MULTILINE)


def read_batches(url: str) -> Batches:
    """Fetch and read the histogram.

    Raises:
        ValueError: The address is none of HTTP, or of another program.
        OSError: Nothing answers there.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address of a /metrics page: http://HOST:PORT/metrics")
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # the scheme is checked above
            text = response.read().decode(errors="replace")
    except OSError as error:
        raise ConnectionError(f"no metrics at {url}: {getattr(error, 'reason', error)}") from error
    if "matting_" not in text:
        raise ValueError(f"{url} has no metrics of a gateway: is it http://HOST:9464/metrics?")
    return Batches(parse_batch_sizes(text), sum(map(float, _SUM.findall(text))))


def parse_batch_sizes(text: str) -> BatchSizes:
    """Read the histogram out of a page in Prometheus text form."""
    sizes: dict[float, float] = {}
    for bound, count in _BUCKET.findall(text):
        sizes[float(bound)] = sizes.get(float(bound), 0.0) + float(count)
    return sizes


def batch_sizes_between(before: BatchSizes, after: BatchSizes) -> dict[str, int]:
    """Return how many batches of each size there were in between: `{"1": 10, "2": 4, "3-4": 7, ">16": 1}`."""
    sizes: dict[str, int] = {}
    below = lower = 0.0
    for bound in sorted(after):
        total = after[bound] - before.get(bound, 0.0)
        count = round(total - below)
        if bound == float("inf"):
            name = f">{lower:g}"
        else:
            name = f"{bound:g}" if bound - lower <= 1 else f"{lower + 1:g}-{bound:g}"
        if count > 0:
            sizes[name] = count
        below, lower = total, bound
    return sizes
