# SPDX-License-Identifier: Apache-2.0
"""Promise: nothing of a photo is left in memory a second after the last answer."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from testkit.memory_scan import Canary, Found, scan

from privacy_proof.canaries import canary_calls
from privacy_proof.load import CONNECTION_COUNT, Load
from privacy_proof.service import Service

_SETTLE_S = 1.0
_DISTINCT_COUNT = 24


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What was found in one process."""

    process: str
    pid: int
    scanned_bytes: int
    found: tuple[Found, ...]

    @property
    def hit_count(self) -> int:
        return sum(found.hit_count for found in self.found)

    @property
    def about_bytes(self) -> int:
        return sum(found.about_bytes for found in self.found)


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What became of the calls, and what was left: with the connections still open, and with them closed."""

    codes: Counter[str]
    connection_count: int
    open: tuple[LeftOver, ...]
    closed: tuple[LeftOver, ...]
    receipt_count: int
    receipts_missing: tuple[str, ...]
    texts: tuple[str, ...]
    canary: Canary


async def run_canaries(service: Service, count: int) -> MemoryReport:
    """Send canaries, and search the memory of all the service's processes for them.

    Twice, for the promise is about a second after the last answer: `count` of them with the
    connections closed in that second, then a fifth as many with the connections kept open.
    """
    canary = Canary()
    calls = list(canary_calls(min(count, _DISTINCT_COUNT), canary))
    async with Load(service, canary) as load:
        await load.run(calls, count)
        await load.close()
        await asyncio.sleep(_SETTLE_S)
        closed = await asyncio.to_thread(left_overs, service.pids(), canary)
    async with Load(service, canary) as again:
        await again.run(calls, max(_DISTINCT_COUNT, count // 5))
        await asyncio.sleep(_SETTLE_S)
        opened = await asyncio.to_thread(left_overs, service.pids(), canary)
    return MemoryReport(
        load.codes + again.codes,
        CONNECTION_COUNT,
        opened,
        closed,
        load.receipt_count + again.receipt_count,
        (*load.receipts_missing, *again.receipts_missing),
        (*load.texts, *again.texts),
        canary,
    )


def left_overs(pids: Sequence[int], canary: Canary) -> tuple[LeftOver, ...]:
    """Search each process that is there. Raises ScanRefusedError where that is not permitted."""
    result = []
    for pid in pids:
        if not psutil.pid_exists(pid):
            continue
        found = scan(pid, canary)
        result.append(LeftOver(psutil.Process(pid).name(), pid, found.scanned_bytes, found.found))
    return tuple(result)
