# SPDX-License-Identifier: Apache-2.0
"""The decisions, as functions of what waits, what is learned, and now. Pure: no clock, no asyncio."""

from dataclasses import dataclass
from enum import Enum

from matting_gateway.batching.fleet import Fleet
from matting_gateway.batching.latency import LatencyTable
from matting_gateway.batching.waiting import Entry, Lane


class Reason(Enum):
    """Why a job is not, or no longer, worth waiting for."""

    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    UNAVAILABLE = "unavailable"
    TOO_MANY_ROWS = "too_many_rows"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a newcomer's batch is predicted to end, and whether the prediction may be acted on."""

    end_s: float
    alone_end_s: float
    reliable: bool


def forecast(fleet: Fleet, table: LatencyTable, rows_ahead: int, rows: int, now_s: float) -> Forecast:
    """Predict a newcomer's end from its place in the queue.

    With `c` rows to a batch, the newcomer's last row travels in batch `k = (rows_ahead + rows - 1) // c`;
    batch `k` goes to the instance that is k-th to be free, after as many full rounds as there are
    before it. Clockwork refuses up front on such a prediction.
    """
    capacity = max(table.preferred_rows, rows)
    position = (rows_ahead + rows - 1) // capacity
    rounds, place = divmod(position, fleet.instance_count)
    start_s = fleet.start_of(place, now_s)
    own_rows = min(rows_ahead + rows, capacity) if position == 0 else capacity
    alone_s = table.predict_high(rows)
    return Forecast(
        end_s=start_s + rounds * table.predict(capacity) + table.predict_high(own_rows),
        alone_end_s=now_s + alone_s,
        reliable=table.warm,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the head of a lane: send `batch`, give `hopeless` up."""

    batch: tuple[Entry, ...]
    hopeless: tuple[Entry, ...]


def form_batch(lane: Lane, table: LatencyTable, endpoint: str, start_s: float, max_rows: int) -> Plan:
    """Take the next batch out of a lane, in deadline order.

    Nexus's sliding window: under pressure, heads that a full batch would make late are passed
    over, since a small batch to save one head costs more later jobs their time. Without
    pressure, the batch is made smaller to save its head.
    """
    capacity = min(table.preferred_rows, max_rows)
    first = lane.head()
    if first is not None:
        capacity = min(max(capacity, first.rows), max_rows)
    pressed = lane.rows >= 2 * capacity
    reliable = table.warm
    batch: list[Entry] = []
    kept: list[Entry] = []
    hopeless: list[Entry] = []
    rows = 0
    while rows < capacity and len(kept) < 2 * capacity:
        entry = lane.head()
        if entry is None or (batch and rows + entry.rows > capacity):
            break
        lane.pop()
        budget_s = entry.due_s - start_s
        if entry.avoid == endpoint or entry.rows > max_rows:
            kept.append(entry)
        elif reliable and table.predict_high(rows + entry.rows) > budget_s:
            # Even so small a batch ends too late for it; alone it would have been in time, or not.
            (kept if table.predict_high(entry.rows) <= budget_s else hopeless).append(entry)
        elif reliable and table.predict_high(capacity) > budget_s:
            if pressed and batch_is_full_without(lane, capacity):
                (kept if table.predict_high(entry.rows) <= budget_s else hopeless).append(entry)
                continue
            capacity = largest_in_time(table, rows + entry.rows, capacity, budget_s)
            batch.append(entry)
            rows += entry.rows
        else:
            batch.append(entry)
            rows += entry.rows
    for entry in kept:
        lane.push(entry)
    return Plan(tuple(batch), tuple(hopeless))


def batch_is_full_without(lane: Lane, capacity: int) -> bool:
    """Whether those behind would still make a full batch."""
    return lane.rows >= capacity


def largest_in_time(table: LatencyTable, fewest: int, most: int, budget_s: float) -> int:
    """Return the most rows, between the two, of which a batch takes at most `budget_s`."""
    rows = most
    while rows > fewest and table.predict_high(rows) > budget_s:
        rows -= 1
    return rows
