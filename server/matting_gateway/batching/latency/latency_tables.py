# SPDX-License-Identifier: Apache-2.0
"""What is learned of a machine for every batch key. Pure: no clock, no asyncio."""

from collections.abc import Collection

from matting_gateway.batching.latency.latency_model import LatencyTable
from matting_gateway.batching.latency.speed_change import SpeedChange
from matting_gateway.domain.job import BatchKey


class LatencyTables:
    """One table for each key, learned together.

    Owns the tables. What makes one machine slow or quick does so for every key: a change is seen in
    batches of whatever keys, and taken over for all. Otherwise each of a dozen shapes would have to be
    late, or to be tried, as often as one alone.
    """

    __slots__ = ("_change", "_tables")

    def __init__(self) -> None:
        self._tables: dict[BatchKey, LatencyTable] = {}
        self._change = SpeedChange()

    def get(self, key: BatchKey) -> LatencyTable | None:
        return self._tables.get(key)

    def put(self, key: BatchKey, table: LatencyTable) -> None:
        self._tables[key] = table

    def forget(self, key: BatchKey) -> None:
        self._tables.pop(key, None)

    def tables(self) -> Collection[LatencyTable]:
        return self._tables.values()

    def observe(self, key: BatchKey, row_count: int, seconds: float, *, probe: bool) -> bool:
        """Learn from one batch; returns whether what is believed now agrees with it."""
        table = self._tables[key]
        if len(self._tables) > 1:  # one alone sees its changes by itself
            ratio = table.ratio(row_count, seconds, probe=probe)
            change = None if ratio is None else self._change.note(ratio)
            if change is not None:
                for other in self._tables.values():
                    other.rescale(change)
        return table.observe(row_count, seconds, probe=probe)
