# SPDX-License-Identifier: Apache-2.0
"""The way to one Triton over time: a link, who looks after it, and its renewal when credentials change."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from matting_gateway.triton.discovery.discovery import NotATritonError
from matting_gateway.triton.settings import PoolSettings
from matting_gateway.triton.transport import failures
from matting_gateway.triton.transport.addresses import Address
from matting_gateway.triton.transport.health_monitor import HealthMonitor
from matting_gateway.triton.transport.link import Link


class Connection:
    """Owns the link in use, its health monitor, and the task that renews it; touched on the event loop only.

    Invariants: a link is replaced only by one that works, and closed only after the calls that
    began on it; there is one renewal at a time.

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
        self._renewal: asyncio.Task[None] | None = None
        self.link = Link(address, settings)
        self._health_monitor = self._taken_care_of()

    def wake(self) -> None:
        """Look at the Triton now instead of after the pause."""
        self._health_monitor.wake()

    async def close(self) -> None:
        """Close the link now; calls in progress fail."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        await self._health_monitor.close()
        await self.link.close()

    def __repr__(self) -> str:
        return f"<Connection to {self._address.label}: {self.link!r}>"

    def _taken_care_of(self) -> HealthMonitor:
        health_monitor = HealthMonitor(self.link.channel, self._look_and_renew, self._settings)
        health_monitor.start()
        return health_monitor

    async def _look_and_renew(self) -> bool:
        outdated = self.link.generation != self._settings.channel_generation()
        if outdated and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew())
        return await self._look()

    async def _renew(self) -> None:
        fresh = Link(self._address, self._settings)
        try:
            await fresh.discoverer.look(None)
        except (grpc.aio.AioRpcError, NotATritonError) as exc:
            found = await fresh.find_out(self._settings.probe_timeout_s)
            await fresh.close()
            self._on_renewal(found.seen if found is not None else failures.describe(exc))
            return
        except BaseException:
            await fresh.close()
            raise
        self._on_renewal("")
        old, self.link = self.link, fresh
        try:
            await self._health_monitor.close()
            self._health_monitor = self._taken_care_of()
        finally:
            await old.retire()
