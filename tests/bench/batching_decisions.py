# SPDX-License-Identifier: Apache-2.0
"""What a decision costs with many jobs waiting: `python tests/bench/batching_decisions.py` prints Markdown.

A decision is what one event makes the scheduler do, from the event until it knows when to wake
next: an arrival is judged and finds its place; or, when a batch comes back, the next one is
formed: who expired is sorted out, endpoint and lane are chosen, eight jobs taken from where they
wait, and the new batch's end predicted. CPU time of the process, collector included.
"""

import random
import sys
import time
from dataclasses import dataclass

from matting_gateway.batching.core import SchedulerCore
from matting_gateway.batching.endpoints.endpoint_model import InflightBatch
from matting_gateway.batching.outcomes import Refusal, Send
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Job, Priority
from open_inference.tensors import TensorSpec

ROWS = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU of each decision: medians and 99th percentiles."""

    arrival_us: float
    arrival_p99_us: float
    batch_us: float
    batch_p99_us: float


class Crowd:
    """A scheduler with `waiting_count` jobs waiting for one fast endpoint."""

    def __init__(self, waiting_count: int, tenant_count: int) -> None:
        # So quick that all who wait can be served in about a second.
        self._batch_s = ROWS / max(waiting_count, 100)
        states = (EndpointState("only", True, 2, 1, ROWS),)
        self._core = SchedulerCore(lambda _: states, BatchingSettings(max_waiting_count=2 * waiting_count))
        self._draw = random.Random(1)
        self._tenant_count = tenant_count
        self._now_s = 100.0
        self._flights: list[InflightBatch] = []
        for _ in range(20):
            self._arrive()
            self._finish_first()
        while self._core.waiting_count < waiting_count:
            if isinstance(self._core.arrive(self._job(), None, self._now_s), Refusal):
                raise RuntimeError("the crowd was not let in")  # noqa: TRY004 - no type is wrong
        self._pump()

    def _job(self) -> Job:
        tenant = f"tenant {self._draw.randrange(self._tenant_count)}"
        # A key of its own for each job, as the doors make them.
        key = BatchKey("model", "1", (TensorSpec("image", "UINT8", (320, 320, 3)),), ("alpha",))
        return Job(key, (), 1, self._now_s + self._draw.uniform(8.0, 20.0), Priority.NORMAL, tenant)

    def _pump(self) -> None:
        self._flights += [action.inflight_batch for action in self._core.pump(self._now_s) if isinstance(action, Send)]
        self._core.wake_at()

    def _arrive(self) -> float:
        job = self._job()
        began_ns = time.process_time_ns()
        self._core.arrive(job, None, self._now_s)
        self._pump()
        return (time.process_time_ns() - began_ns) / 1000

    def _finish_first(self) -> float:
        self._now_s += self._batch_s
        flight = self._flights.pop(0)
        self._core.complete(flight, self._now_s)  # the books: slots, and what the latency teaches
        began_ns = time.process_time_ns()
        self._pump()
        return (time.process_time_ns() - began_ns) / 1000

    def measure(self, batch_count: int = 1000) -> Cost:
        """Let as many come as go, so that the crowd stays as large."""
        arrivals: list[float] = []
        batches: list[float] = []
        for _ in range(batch_count):
            arrivals += [self._arrive() for _ in range(ROWS)]
            batches.append(self._finish_first())
        arrivals.sort()
        batches.sort()
        return Cost(
            arrivals[len(arrivals) // 2],
            arrivals[int(0.99 * len(arrivals))],
            batches[len(batches) // 2],
            batches[int(0.99 * len(batches))],
        )


def main() -> None:
    sys.stdout.write("Two kinds of decision: one job arrives and is judged; a batch of 8 is formed and sent.\n\n")
    sys.stdout.write("| waiting | tenants | arrival judged, us (p50 / p99) | batch of 8 formed, us (p50 / p99) |\n")
    sys.stdout.write("|---|---|---|---|\n")
    for waiting_count, tenant_count in ((10, 1), (1_000, 1), (10_000, 1), (100_000, 1), (10_000, 20), (100_000, 20)):
        cost = Crowd(waiting_count, tenant_count).measure()
        sys.stdout.write(
            f"| {waiting_count} | {tenant_count} | {cost.arrival_us:.1f} / {cost.arrival_p99_us:.1f} "
            f"| {cost.batch_us:.1f} / {cost.batch_p99_us:.1f} |\n"
        )


if __name__ == "__main__":
    main()
