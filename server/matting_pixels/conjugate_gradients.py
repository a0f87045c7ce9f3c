# SPDX-License-Identifier: Apache-2.0
"""Conjugate gradients with two levels: what single pixels and what blocks of pixels are off by.

Neighbours alone pass a correction on by a pixel or two a step, which is why Jacobi's preconditioner stops far from the
solution. Blocks of pixels, a system of a ninth of the size that is solved directly, carry it across the whole band.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import splu

from matting_pixels.arrays import Floats
from matting_pixels.closed_form import MattingSystem

_BLOCK_PX = 3
_MAX_STEPS = 100
# Of the first residual, in the norm of the preconditioner.
_TOLERANCE = 1e-3
# What is left after the last step may be so much more than that, and is a solution still.
_GOOD_ENOUGH = 3e-2


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Solution:
    """`values` float64 [n], whether they solve the system, and in how many steps they were found."""

    values: Floats
    converged: bool
    step_count: int


def solve(system: MattingSystem, start: Floats, *, check: Callable[[], None], max_steps: int = _MAX_STEPS) -> Solution:
    """Solve a system from a start float64 [n]; `check` is called before each step and may raise."""
    matrix, values = system.matrix, start.astype(np.float64)
    precondition = _two_levels(system)
    residual = system.right_side - matrix @ values
    better = precondition(residual)
    direction = better.copy()
    first = left = float(residual @ better)
    step_count = 0
    while step_count < max_steps and left > _TOLERANCE**2 * first:
        check()
        step_count += 1
        ahead = matrix @ direction
        length = left / float(direction @ ahead)
        values += length * direction
        residual -= length * ahead
        better = precondition(residual)
        before, left = left, float(residual @ better)
        direction = better + (left / before) * direction
    converged = bool(np.isfinite(values).all()) and left <= _GOOD_ENOUGH**2 * first
    return Solution(values, converged, step_count)


def _two_levels(system: MattingSystem) -> Callable[[Floats], Floats]:
    """Return the preconditioner: the diagonal's inverse plus the inverse of the system of blocks."""
    matrix = system.matrix
    count = matrix.shape[0]
    block_columns = int(system.columns.max()) // _BLOCK_PX + 1
    blocks = system.rows // _BLOCK_PX * block_columns + system.columns // _BLOCK_PX
    _, block_of = np.unique(blocks, return_inverse=True)
    block_count = int(block_of.max()) + 1
    gather = csr_array((np.ones(count), block_of, np.arange(count + 1)), shape=(count, block_count))
    coarse = splu(
        (gather.T @ (matrix @ gather)).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    by_diagonal = 1 / matrix.diagonal()

    def precondition(residual: Floats) -> Floats:
        correction: Floats = coarse.solve(np.bincount(block_of, residual, block_count))
        both: Floats = by_diagonal * residual + correction[block_of]
        return both

    return precondition
