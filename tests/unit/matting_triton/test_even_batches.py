# SPDX-License-Identifier: Apache-2.0
"""Which batches are made even, and that nothing but one row is added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_triton.backends.onnxruntime.even_batches import is_made_even, needs_even_batches, with_last_row_twice


@pytest.mark.parametrize(
    ("takes_any_batch", "precision", "is_quantised", "expected"),
    [
        (True, "bf16", False, True),
        (True, "f32", False, False),
        (True, "bf16", True, False),
        (False, "bf16", False, False),
    ],
)
def test_only_bf16_of_whole_batches_needs_it(
    takes_any_batch: bool, precision: str, is_quantised: bool, expected: bool
) -> None:
    found = needs_even_batches(takes_any_batch=takes_any_batch, precision=precision, is_quantised=is_quantised)
    assert found is expected


@given(st.integers(1, 64))
def test_what_is_computed_is_even_or_a_single_row(row_count: int) -> None:
    computed = row_count + is_made_even(row_count)
    assert computed == 1 or computed % 2 == 0


def test_the_last_row_comes_twice_in_an_array_of_its_own() -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    even = with_last_row_twice(rows)
    assert even.shape == (4, 2, 2)
    assert (even[:3] == rows).all()
    assert (even[3] == rows[2]).all()
    assert not np.shares_memory(even, rows)
