# SPDX-License-Identifier: Apache-2.0
"""The series that say what serves each model on one backend."""

from collections.abc import Iterable
from typing import TypeAlias

from prometheus_client import Gauge

from matting_gateway.domain.model import ModelContract

# Backend, model, engine, device, precision.
_Labels: TypeAlias = tuple[str, str, str, str, str]


class InstanceSeries:
    """Owns one backend's part of a gauge: what was said before and is no longer true is taken away."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._told: set[_Labels] = set()

    def tell(self, contracts: Iterable[ModelContract]) -> None:
        """Say it of these models and of no others."""
        counts: dict[_Labels, int] = {}
        for contract in contracts:
            for i in contract.instances:
                labels = (i.backend, contract.name, i.engine, i.device, i.precision)
                counts[labels] = counts.get(labels, 0) + i.instance_count
        for gone in self._told - counts.keys():
            self._gauge.remove(*gone)
        for labels, count in counts.items():
            self._gauge.labels(*labels).set(count)
        self._told = {*counts}
