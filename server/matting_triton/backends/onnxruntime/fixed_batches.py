# SPDX-License-Identifier: Apache-2.0
"""Batches of any size by engines that each compute batches of one size only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from engine_contract import Arrays, Engine


def batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Return the powers of two below the largest batch, and that."""
    return (*(1 << power for power in range((max_batch_size - 1).bit_length())), max_batch_size)


class FixedBatches:
    """Fills a batch up with rows of zeros to the next size that there is an engine for, and cuts the answers.

    For onnxruntime's CUDA provider: it has cuDNN plan a convolution for a shape, and keeps the plan of the last shape
    only, so that every change of the batch size would plan the whole network anew.
    """

    def __init__(self, engines: Mapping[int, Engine]) -> None:
        self._engines = dict(sorted(engines.items()))
        self._used: set[int] = set()
        first = next(iter(self._engines.values()))
        self.served, self.input_names, self.output_names = first.served, first.input_names, first.output_names

    def run(self, feeds: Arrays, names: Sequence[str]) -> Arrays:
        row_count = len(next(iter(feeds.values())))
        size = next(size for size in self._engines if size >= row_count)
        self._used.add(size)
        if size == row_count:
            return self._engines[size].run(feeds, names)
        filled = {name: _filled(array, size) for name, array in feeds.items()}
        try:
            results = self._engines[size].run(filled, names)
        finally:
            for array in filled.values():
                array.fill(0)
        return {name: array[:row_count] for name, array in results.items()}

    def scrub(self, feeds: Arrays) -> None:
        while self._used:
            size = self._used.pop()
            self._engines[size].scrub({name: _filled(array[:1], size) for name, array in feeds.items()})


def _filled(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    filled = np.zeros((size, *array.shape[1:]), array.dtype)
    filled[: len(array)] = array
    return filled
