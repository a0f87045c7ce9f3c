# SPDX-License-Identifier: Apache-2.0
"""Honest callers of a gateway and what they see of it: how long a health check and a photo take, and its memory."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from testkit.hostile import PHOTO, photo
from testkit.tenants import bearer

_PATIENCE_S = 20.0
_CHECK_EVERY_S = 0.02


@dataclass
class Seen:
    """What honest callers saw: seconds of each call, what was refused, and the most memory resident, in bytes."""

    checks_s: list[float] = field(default_factory=list)
    photos_s: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    resident_bytes: int = 0

    @property
    def check_p99_s(self) -> float:
        return sorted(self.checks_s)[int(0.99 * len(self.checks_s))]

    @property
    def photo_s(self) -> float:
        """Return the median."""
        return sorted(self.photos_s)[len(self.photos_s) // 2] if self.photos_s else float("inf")


async def look(address: str, pid: int, *, seconds: float, token: str = "") -> Seen:
    """Call for so long, over one channel for health checks and one for photos, and look at the process."""
    seen, process = Seen(), psutil.Process(pid)
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    metadata = bearer(token or None)

    async def check() -> None:
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            next_s = loop.time()
            while next_s < until_s:
                await asyncio.sleep(next_s - loop.time())
                since_s = loop.time()
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE_S)
                seen.checks_s.append(loop.time() - since_s)
                seen.resident_bytes = max(seen.resident_bytes, process.memory_info().rss)
                next_s = max(next_s + _CHECK_EVERY_S, loop.time())

    async def photos() -> None:
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            remove_background: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PHOTO.decode())
            while loop.time() < until_s:
                since_s = loop.time()
                try:
                    await remove_background(photo(), timeout=_PATIENCE_S, metadata=metadata)
                except grpc.aio.AioRpcError as exc:
                    seen.refused[f"{exc.code().name}: {(exc.details() or '')[:60]}"] += 1
                else:
                    seen.photos_s.append(loop.time() - since_s)

    await asyncio.gather(check(), photos())
    return seen
