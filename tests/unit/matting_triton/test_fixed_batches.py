# SPDX-License-Identifier: Apache-2.0
"""Batches of any size by engines of one size each: same answers, no engine sees another size, nothing is left."""

from pathlib import Path
from types import ModuleType
from typing import Any

import matting_triton
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_models.repository.variants import Variant

_BACKEND = Path(matting_triton.__file__).parent / "backends" / "onnxruntime"


@pytest.fixture(scope="module")
def batches() -> ModuleType:
    """Return the module as Triton's stub finds it: by the backend's folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(_BACKEND))
        import fixed_batches  # noqa: PLC0415 -- only found with the path above

        module: ModuleType = fixed_batches
        return module


class OneSize:
    """An engine that inverts images, in batches of one size only, and remembers what it was given."""

    served = "served"
    input_names = frozenset({"image"})
    output_names = frozenset({"alpha"})

    def __init__(self, size: int) -> None:
        self.size = size
        self.given: list[Any] = []

    def run(self, feeds: dict[str, Any], names: list[str]) -> dict[str, Any]:
        self.given.append(feeds["image"])
        if len(feeds["image"]) != self.size:
            raise ValueError(f"{len(feeds['image'])} rows for an engine of {self.size}")
        return dict.fromkeys(names, 255 - feeds["image"])

    def scrub(self, feeds: dict[str, Any]) -> None:
        self.run(feeds, ["alpha"])


@given(max_batch_size=st.integers(1, 40), row_count=st.integers(1, 40), seed=st.integers(0, 9))
def test_each_row_is_answered_whatever_the_size(
    batches: ModuleType, max_batch_size: int, row_count: int, seed: int
) -> None:
    row_count = min(row_count, max_batch_size)
    engines = {size: OneSize(size) for size in batches.batch_sizes(max_batch_size)}
    rows = np.random.default_rng(seed).integers(0, 256, (row_count, 3, 2), np.uint8)
    answer = batches.FixedBatches(engines).run({"image": rows.copy()}, ["alpha"])
    assert np.array_equal(answer["alpha"], 255 - rows)
    (used,) = [engine for engine in engines.values() if engine.given]
    assert used.size < 2 * row_count or used.size == 1


def test_the_largest_batch_is_a_size_of_its_own(batches: ModuleType) -> None:
    assert batches.batch_sizes(1) == (1,)
    assert batches.batch_sizes(8) == (1, 2, 4, 8)
    assert batches.batch_sizes(12) == (1, 2, 4, 8, 12)


@given(max_batch_size=st.integers(1, 128))
def test_what_an_entry_is_warmed_with_is_what_is_computed(batches: ModuleType, max_batch_size: int) -> None:
    """The two are written down apart, for the backend runs in Triton's own environment."""
    assert Variant("cuda").warmup_batch_sizes(max_batch_size) == batches.batch_sizes(max_batch_size)


def test_what_was_filled_up_is_overwritten(batches: ModuleType) -> None:
    engine = OneSize(4)
    batches.FixedBatches({4: engine}).run({"image": np.full((3, 2), 7, np.uint8)}, ["alpha"])
    assert not engine.given[0].any()


def test_a_scrub_reaches_the_engines_that_were_used_since_the_last_one(batches: ModuleType) -> None:
    engines = {size: OneSize(size) for size in (1, 2, 4)}
    fixed = batches.FixedBatches(engines)
    for row_count in (1, 3):
        fixed.run({"image": np.zeros((row_count, 2), np.uint8)}, ["alpha"])
    for _ in range(2):
        fixed.scrub({"image": np.zeros((1, 2), np.uint8)})
    assert [len(engine.given) for engine in engines.values()] == [2, 0, 2]
