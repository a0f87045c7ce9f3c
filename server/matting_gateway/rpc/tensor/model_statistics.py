# SPDX-License-Identifier: Apache-2.0
"""ModelStatistics in Triton's sense, of what the gateway saw.

`inference_count` counts rows and `execution_count` batches sent to backends; success, queue and compute
durations are summed over requests, so that for each request success = queue + compute_input +
compute_infer + compute_output, as perf_analyzer expects. Source: Triton's statistics extension.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tritonclient.grpc import service_pb2

from matting_gateway.clock import Clock
from matting_gateway.triton.pool.executions import BatchCount, Executions


@dataclass(slots=True)
class _Counts:
    """Requests and the sums of their times; of those that succeeded by where the time went."""

    success_count: int = 0
    input_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0
    fail_count: int = 0
    fail_s: float = 0.0
    last_wall_s: float = 0.0


class RequestTimes(NamedTuple):
    """Where one request's time went, in seconds, none of them negative."""

    input_s: float
    queue_s: float
    infer_s: float
    output_s: float


class ModelStatistics:
    """Counts requests by model and version.

    Owns the counts, which only grow; touched on the event loop only.
    """

    def __init__(self, executions: Executions, *, clock: Clock) -> None:
        self._executions = executions
        self._clock = clock
        self._counts: defaultdict[tuple[str, str], _Counts] = defaultdict(_Counts)

    def succeeded(self, model: str, version: str, times: RequestTimes) -> None:
        counts = self._counts[model, version]
        counts.success_count += 1
        counts.input_s += times.input_s
        counts.queue_s += times.queue_s
        counts.infer_s += times.infer_s
        counts.output_s += times.output_s
        counts.last_wall_s = self._clock.wall()

    def failed(self, model: str, version: str, seconds: float) -> None:
        counts = self._counts[model, version]
        counts.fail_count += 1
        counts.fail_s += seconds

    def of(self, model: str, version: str) -> service_pb2.ModelStatistics:
        """Return what is known of one version of a model."""
        counts = self._counts.get((model, version), _Counts())
        batches = self._executions.of(model, version)
        none = service_pb2.StatisticDuration()
        return service_pb2.ModelStatistics(
            name=model,
            version=version,
            last_inference=int(counts.last_wall_s * 1000),
            inference_count=sum(rows * batch.count for rows, batch in batches.items()),
            execution_count=sum(batch.count for batch in batches.values()),
            inference_stats=service_pb2.InferStatistics(
                success=_duration(
                    counts.success_count, counts.input_s + counts.queue_s + counts.infer_s + counts.output_s
                ),
                fail=_duration(counts.fail_count, counts.fail_s),
                queue=_duration(counts.success_count, counts.queue_s),
                compute_input=_duration(counts.success_count, counts.input_s),
                compute_infer=_duration(counts.success_count, counts.infer_s),
                compute_output=_duration(counts.success_count, counts.output_s),
                cache_hit=none,
                cache_miss=none,
            ),
            batch_stats=_batch_messages(batches),
        )

    def __repr__(self) -> str:
        return f"<ModelStatistics of {len(self._counts)} model versions>"


def _batch_messages(batches: Mapping[int, BatchCount]) -> list[service_pb2.InferBatchStatistics]:
    return [
        service_pb2.InferBatchStatistics(
            batch_size=rows,
            compute_input=_duration(batch.count, 0.0),
            compute_infer=_duration(batch.count, batch.total_s),
            compute_output=_duration(batch.count, 0.0),
        )
        for rows, batch in batches.items()
    ]


def _duration(count: int, seconds: float) -> service_pb2.StatisticDuration:
    return service_pb2.StatisticDuration(count=count, ns=round(seconds * 1e9))
