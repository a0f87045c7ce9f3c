# SPDX-License-Identifier: Apache-2.0
"""The decisions, as functions of what waits, what is learned, and now. Pure: no clock, no asyncio."""

from typing import NamedTuple

from matting_gateway.batching.endpoints.endpoint_set import EndpointSet
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.latency.latency_model import LatencyTable
from matting_gateway.batching.queue.batch_key_queue import BatchKeyQueue

_STRAGGLERS_SCAN = 8  # batches of a queue, from its head on, among which a straggler looks for what it can do


def predicted_end(endpoint_set: EndpointSet, table: LatencyTable, rows_ahead: int, rows: int, now_s: float) -> float:
    """Predict, with the margin, when a newcomer's batch ends, from its place in the queue.

    With `c` rows to a batch, the newcomer's last row travels in batch `k = (rows_ahead + rows - 1) // c`;
    batch `k` goes to the instance that is k-th to be free, after as many full rounds as there are
    before it. Clockwork refuses up front on such a prediction.
    """
    capacity = max(table.preferred_rows, rows)
    if rows_ahead + rows <= capacity:
        return endpoint_set.start_of(0, now_s) + table.predict_high(rows_ahead + rows)
    position = (rows_ahead + rows - 1) // capacity
    rounds, place = divmod(position, endpoint_set.instance_count)
    return endpoint_set.start_of(place, now_s) + rounds * table.predict(capacity) + table.predict_high(capacity)


class Plan(NamedTuple):
    """What to do with the head of a queue: send `batch`, give `hopeless` up."""

    batch: tuple[Entry, ...]
    hopeless: tuple[Entry, ...]


def form_batch(
    key_queue: BatchKeyQueue,
    table: LatencyTable,
    endpoint: str,
    start_s: float,
    max_rows: int,
    *,
    straggles: bool = False,
) -> Plan:
    """Choose the next batch of a queue, in its order; the queue stays as it is.

    Nexus's sliding window: with a backlog, heads that a full batch would make late are given
    up, since a small batch to save one head costs many behind it their time. Without one, the
    batch is made smaller to save its head. An endpoint that `straggles` takes what it can do in time
    and gives nobody up: the others may still be in time.
    """
    head = key_queue.head()
    capacity = min(max(table.preferred_rows, head.rows if head else 1), max_rows)
    backlog = key_queue.rows >= 2 * capacity and not straggles
    most_kept = (_STRAGGLERS_SCAN if straggles else 2) * capacity
    full_end_s = start_s + table.predict_high(capacity) if table.warm else 0.0
    batch: list[Entry] = []
    hopeless: list[Entry] = []
    rows = kept_count = 0
    rows_behind = key_queue.rows
    for entry in key_queue:
        if (rows and rows + entry.rows > capacity) or kept_count >= most_kept:
            break
        rows_behind -= entry.rows
        if entry.avoid == endpoint or entry.rows > max_rows:
            kept_count += 1
        elif entry.due_s >= full_end_s:
            batch.append(entry)
            rows += entry.rows
        elif backlog and rows_behind >= capacity - rows:
            hopeless.append(entry)
        elif table.predict_high(rows + entry.rows) <= entry.due_s - start_s:
            capacity = largest_in_time(table, rows + entry.rows, capacity, entry.due_s - start_s)
            full_end_s = start_s + table.predict_high(capacity)
            batch.append(entry)
            rows += entry.rows
        elif straggles or table.predict_high(entry.rows) <= entry.due_s - start_s:
            # Beside those before it, it would be late; alone it might be in time.
            kept_count += 1
        else:
            hopeless.append(entry)
    return Plan(tuple(batch), tuple(hopeless))


def largest_in_time(table: LatencyTable, fewest: int, most: int, budget_s: float) -> int:
    """Return the most rows, between the two, of which a batch takes at most `budget_s`."""
    rows = most
    while rows > fewest and table.predict_high(rows) > budget_s:
        rows -= 1
    return rows
