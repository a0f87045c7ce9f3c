# SPDX-License-Identifier: Apache-2.0
"""Promise: nothing of a photo is left in memory a second after the last answer."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psutil
from testkit.memory_scan import Canary, Found, scan

from privacy_proof.canaries import canary_calls
from privacy_proof.load import Load
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

    def without_raw_alphas(self) -> "LeftOver":
        """Return it less the one thing that is known to stay: what a model answered, in Triton's pool and stubs."""
        return replace(self, found=tuple(f for f in self.found if not self._is_raw_alpha(f)))

    def raw_alphas(self) -> tuple[Found, ...]:
        """Return what of the models' own answers is in Triton's pool and stubs, until later ones take its place."""
        return tuple(f for f in self.found if self._is_raw_alpha(f))

    def _is_raw_alpha(self, found: Found) -> bool:
        return found.kind in {"alpha", "result"} and "triton" in self.process

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
    """Send canaries, and search the memory of all the service's processes for them."""
    canary = Canary()
    calls = list(canary_calls(min(count, _DISTINCT_COUNT), canary))
    async with Load(service, canary) as load:
        await load.run(calls, count)
        await asyncio.sleep(_SETTLE_S)  # the promise is about a second after the last answer
        opened = await asyncio.to_thread(left_overs, service.pids(), canary)
        await load.close()
        await asyncio.sleep(_SETTLE_S)
        closed = await asyncio.to_thread(left_overs, service.pids(), canary)
    return MemoryReport(
        load.codes, 4, opened, closed, load.receipt_count, tuple(load.receipts_missing), tuple(load.texts), canary
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
