# SPDX-License-Identifier: Apache-2.0
"""Pools for tests, and batches to send through them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from matting_gateway.clock import SystemClock
from matting_gateway.domain.job import Batch, BatchKey, Job
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton.pool.pool import Pool
from matting_gateway.triton.settings import PoolSettings
from open_inference.tensors import Tensor, TensorSpec
from prometheus_client import CollectorRegistry

QUICK = PoolSettings(
    probe_timeout_s=0.5, refresh_interval_s=0.1, first_retry_s=0.02, longest_retry_s=0.1, resolve_interval_s=0.1
)
PATIENCE_S = 10.0


class WatchedPool(Pool):
    """A pool whose changes can be waited for."""

    def __init__(self, *addresses: str, settings: PoolSettings = QUICK, metrics: Metrics | None = None) -> None:
        self._news = asyncio.Event()
        super().__init__(
            addresses,
            clock=SystemClock(),
            metrics=metrics or Metrics(CollectorRegistry()),
            settings=settings,
            on_change=self._news.set,
        )

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until `condition` holds; it is looked at whenever the pool changes."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def running_pool(
    *addresses: str, settings: PoolSettings = QUICK, metrics: Metrics | None = None
) -> AsyncIterator[WatchedPool]:
    """Start a pool and close it in the end."""
    pool = WatchedPool(*addresses, settings=settings, metrics=metrics)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


def key_of(
    model: str, *inputs: tuple[str, str, tuple[int, ...]], version: str = "", outputs: tuple[str, ...] = ()
) -> BatchKey:
    """Return the key of rows with these inputs: (name, datatype, shape of a row)."""
    return BatchKey(model, version, tuple(TensorSpec(*spec) for spec in inputs), outputs)


def batch_of(key: BatchKey, *rows: tuple[bytes, ...], batched: bool = True) -> Batch:
    """Return a batch of one-row jobs; each of `rows` holds one job's inputs."""
    jobs = tuple(
        Job(
            key,
            tuple(
                Tensor(spec.name, spec.datatype, (1, *spec.shape) if batched else spec.shape, data)
                for spec, data in zip(key.inputs, contents, strict=True)
            ),
            1,
            time.monotonic() + PATIENCE_S,
        )
        for contents in rows
    )
    return Batch(key, jobs, len(jobs))
