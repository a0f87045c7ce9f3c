# SPDX-License-Identifier: Apache-2.0
"""Our counters and histograms are exposed as those of prometheus_client are."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.telemetry.series import Counter, Histogram, ReadCounter
from prometheus_client import CollectorRegistry, generate_latest

BOUNDS = (0.001, 0.5, 1, 32)


def exposed(registry: CollectorRegistry) -> list[str]:
    """Return all lines but those that say when a series began, which are the library's own."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@pytest.mark.slow
@given(st.lists(st.sampled_from([0.0, 0.0005, 0.001, 0.25, 0.5, 1.0, 2.0, 32.0, 1e9]), max_size=20))
def test_a_histogram_looks_like_the_librarys(amounts: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    own = Histogram("seconds", "A time.", ("model",), buckets=BOUNDS, registry=ours).labels("u2net")
    their = prometheus_client.Histogram("seconds", "A time.", ("model",), buckets=BOUNDS, registry=theirs)
    for amount in amounts:
        own.observe(amount)
        their.labels("u2net").observe(amount)
    their.labels("u2net")
    assert exposed(ours) == exposed(theirs)


def test_a_counter_looks_like_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    for family, registry in ((Counter, ours), (prometheus_client.Counter, theirs)):
        counter = family("images", "Images.", ("model", "outcome"), registry=registry)
        counter.labels("u2net", "ok").inc()
        counter.labels("u2net", "ok").inc(3)
        counter.labels('odd"name', "late").inc(0)
    assert exposed(ours) == exposed(theirs)


def test_a_counter_that_its_owner_keeps_is_read_when_metrics_are() -> None:
    registry, kept = CollectorRegistry(), [3.0]
    ReadCounter("ended", "Ends.", registry=registry).read_from(lambda: kept[0])
    assert registry.get_sample_value("ended_total") == 3
    kept[0] = 4.0
    assert registry.get_sample_value("ended_total") == 4


def test_a_family_without_labels_has_its_one_series() -> None:
    registry = CollectorRegistry()
    Histogram("seconds", "A time.", buckets=BOUNDS, registry=registry).labels().observe(0.7)
    assert registry.get_sample_value("seconds_bucket", {"le": "1.0"}) == 1
    assert registry.get_sample_value("seconds_sum") == 0.7


def test_another_number_of_labels_is_refused() -> None:
    counter = Counter("images", "Images.", ("model",), registry=CollectorRegistry())
    with pytest.raises(ValueError, match="the labels are model"):
        counter.labels("u2net", "ok")
