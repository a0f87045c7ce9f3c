# SPDX-License-Identifier: Apache-2.0
"""grpc.health.v1.Health from the state of the gateway: SERVING exactly while a photo could be served.

Each model has a health service of its own too, `model/NAME`.
"""

import asyncio
from collections.abc import Mapping, Sequence

from grpc_h2.server.server import GrpcServer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio


class Health:
    """Tells watchers whether the gateway serves.

    Owns the health service's statuses and the one task that writes them, so that `update` can
    be called from anywhere on the loop.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self._services = ("", *services)
        self._servicer = health_aio.HealthServicer()
        self._serving = False
        self._models: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, server: GrpcServer) -> None:
        await self._write()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        self._task = asyncio.create_task(self._follow(), name="health")

    def update(self, *, serving: bool, models: Mapping[str, bool]) -> None:
        """Tell of the default model, as which the gateway itself counts, and of each model."""
        # A model that is gone stays known, and is not served.
        told = dict.fromkeys(self._models, False) | dict(models)
        if (serving, told) != (self._serving, self._models):
            self._serving, self._models = serving, told
            self._changed.set()

    @property
    def serving(self) -> bool:
        return self._serving

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._write()

    async def _write(self) -> None:
        status = health_pb2.HealthCheckResponse
        serving = dict.fromkeys(self._services, self._serving)
        for service, served in (serving | {f"model/{name}": well for name, well in self._models.items()}).items():
            await self._servicer.set(service, status.SERVING if served else status.NOT_SERVING)
