# SPDX-License-Identifier: Apache-2.0
"""What was computed so far, in the sense of Triton's model statistics."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchCount:
    """Batches of one size: how many, and how long they took from being sent to being answered."""

    count: int
    total_s: float


class Executions:
    """Counts batches by model, version and rows.

    Owns the counts, which only grow; touched on the event loop only.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], dict[int, list[float]]] = {}

    def add(self, model: str, version: str, row_count: int, seconds: float) -> None:
        by_rows = self._counts.setdefault((model, version), {})
        entry = by_rows.setdefault(row_count, [0, 0.0])
        entry[0] += 1
        entry[1] += seconds

    def of(self, model: str, version: str) -> Mapping[int, BatchCount]:
        """Return the batches of a model's version, by their number of rows."""
        by_rows = self._counts.get((model, version), {})
        return {rows: BatchCount(int(count), total_s) for rows, (count, total_s) in sorted(by_rows.items())}

    def __repr__(self) -> str:
        return f"<Executions of {len(self._counts)} model versions>"
