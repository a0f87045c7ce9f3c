# SPDX-License-Identifier: Apache-2.0
"""When to look at a Triton again: on news of its connection, on a failure, and after a while."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc

from matting_gateway.triton.settings import PoolSettings
from matting_gateway.triton.transport.addresses import Address
from matting_gateway.triton.transport.contact import Finding
from matting_gateway.triton.transport.triton_client import TritonClient


class HealthMonitor:
    """Looks at one Triton as often as is right, from when it is made, and renews its client.

    Owns the client in use and three tasks: one waits for its channel's state to change, one looks and pauses, one
    renews it when credentials have changed. After a failure the pauses grow, with jitter, so that many gateways do
    not return to a fresh backend in step. Invariants: a client is replaced only by one that works, and closed only
    after the calls that began on it; there is one renewal at a time. Touched on the event loop only.

    Args:
        address: Where the Triton is.
        settings: Of the pool.
        look: Asks the Triton how it is; returns whether it is well.
        on_renewal: Told of each renewal: why the new credentials do not work, or "" where they do.
    """

    def __init__(
        self,
        address: Address,
        settings: PoolSettings,
        look: Callable[[], Awaitable[bool]],
        on_renewal: Callable[[str], None],
    ) -> None:
        self._address = address
        self._settings = settings
        self._look = look
        self._on_renewal = on_renewal
        self._news = asyncio.Event()
        self.client = TritonClient(address, settings)
        self._watching = asyncio.create_task(self._watch(self.client))
        self._looking = asyncio.create_task(self._look_after())
        self._renewing: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Look now instead of after the pause."""
        self._news.set()

    async def close(self) -> None:
        """Close the client now; calls in progress fail."""
        tasks = [task for task in (self._renewing, self._watching, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.close()

    def __repr__(self) -> str:
        return f"<HealthMonitor of {self._address.label}: {self.client!r}>"

    async def _watch(self, client: TritonClient) -> None:
        """Wake the look whenever the connection comes or goes."""
        while True:
            before = client.channel.get_state(try_to_connect=True)
            await client.channel.wait_for_state_change(before)
            after = client.channel.get_state()
            if after is grpc.ChannelConnectivity.SHUTDOWN:
                return
            if grpc.ChannelConnectivity.READY in (before, after):
                self._news.set()

    async def _renew(self) -> None:
        unused = TritonClient(self._address, self._settings)
        try:
            seen = await unused.look(None)
            if not isinstance(seen, Finding):
                unused, self.client = self.client, unused
                self._watching.cancel()
                self._watching = asyncio.create_task(self._watch(self.client))
                self.wake()
            self._on_renewal(seen.seen if isinstance(seen, Finding) else "")
        finally:
            await unused.retire()

    async def _look_after(self) -> None:
        settings = self._settings
        retry_s = settings.first_retry_s
        while True:
            self._news.clear()
            outdated = settings.tls is not None and settings.tls.value() is not self.client.identity
            if outdated and (self._renewing is None or self._renewing.done()):
                self._renewing = asyncio.create_task(self._renew())
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
