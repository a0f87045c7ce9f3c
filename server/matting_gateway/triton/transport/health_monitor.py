# SPDX-License-Identifier: Apache-2.0
"""When to look at a backend again: on news of its connection, on a failure, and after a while."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc

from matting_gateway.triton.settings import PoolSettings


class HealthMonitor:
    """Calls `look` as often as is right.

    Owns two tasks: one waits for the channel's state to change, one looks and pauses. `look`
    returns whether the backend is well; after a failure the pauses grow, with jitter, so that many
    gateways do not return to a fresh backend in step.
    """

    def __init__(self, channel: grpc.aio.Channel, look: Callable[[], Awaitable[bool]], settings: PoolSettings) -> None:
        self._channel = channel
        self._look = look
        self._settings = settings
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._look_after())]

    def wake(self) -> None:
        """Look now instead of after the pause."""
        self._news.set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Wake the look whenever the connection comes or goes."""
        while True:
            before = self._channel.get_state(try_to_connect=True)
            await self._channel.wait_for_state_change(before)
            after = self._channel.get_state()
            if after is grpc.ChannelConnectivity.SHUTDOWN:
                return
            if grpc.ChannelConnectivity.READY in (before, after):
                self._news.set()

    async def _look_after(self) -> None:
        settings = self._settings
        retry_s = settings.first_retry_s
        while True:
            self._news.clear()
            if await self._look():
                retry_s = settings.first_retry_s
                pause_s = settings.refresh_interval_s
            else:
                pause_s = retry_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter needs no secret
                retry_s = min(2 * retry_s, settings.longest_retry_s)
            try:
                async with asyncio.timeout(pause_s):
                    await self._news.wait()
            except TimeoutError:
                continue
