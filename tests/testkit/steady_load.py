# SPDX-License-Identifier: Apache-2.0
"""Calls evenly spaced in time, whatever becomes of them: what a service is offered, and not what it takes."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc


class SteadyLoad:
    """Makes `rate` calls a second from when its block is entered; the rate may be changed meanwhile.

    Owns the tasks of its calls. `codes` counts how they ended, by status, `told` those that failed, by what was said
    too. Calls begun as the block is left are awaited.
    """

    def __init__(self, call: Callable[[], Awaitable[Any]], rate: float) -> None:
        self.rate = rate
        self.codes: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self._call = call
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await asyncio.gather(*self._tasks)

    async def after(self, seconds: float, rate: float | None = None) -> None:
        """Go on for so long, at another rate if one is given."""
        self.rate = self.rate if rate is None else rate
        await asyncio.sleep(seconds)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            task = asyncio.create_task(self._count())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            next_s += 1 / self.rate
            await asyncio.sleep(max(0.0, next_s - loop.time()))

    async def _count(self) -> None:
        try:
            await self._call()
            code = "OK"
        except grpc.aio.AioRpcError as exc:
            code = exc.code().name
            self.told[f"{code}: {exc.details()}"] += 1
        self.codes[code] += 1
