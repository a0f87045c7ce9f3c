# SPDX-License-Identifier: Apache-2.0
"""Which batches OpenVINO computes with one row more than they have, so that an answer does not depend on its batch.

In bf16 the work of an odd batch is split otherwise among threads, and answers move by up to 8/255. Used by the engine
that serves, and by `models verify`, which is to find what is served.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def needs_even_batches(*, takes_any_batch: bool, precision: str, is_quantised: bool) -> bool:
    """Return whether odd batches are to be made even for a model that OpenVINO computes in `precision`."""
    return takes_any_batch and precision == "bf16" and not is_quantised


def is_made_even(row_count: int) -> bool:
    """Return whether a batch of so many rows is one to be made even; a single row stays single."""
    return row_count > 1 and row_count % 2 == 1


def with_last_row_twice(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy of an array with its last row once more."""
    return np.concatenate([array, array[-1:]])
