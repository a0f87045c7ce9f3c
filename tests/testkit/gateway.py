# SPDX-License-Identifier: Apache-2.0
"""A whole gateway in the test's own process, on port 0, with whatever settings a test wants."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_gateway.app import Gateway
from matting_gateway.clock import SystemClock
from matting_gateway.configuration.settings import Settings
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.privacy.hardening import Hardening
from matting_gateway.telemetry.logs import Logs
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry

LOOPBACK = "127.0.0.1:0"
SOFT = Hardening(
    core_dumps_off=False,
    dumpable_off=False,
    memory_locked=False,
    swap_off=False,
    umask_safe=False,
    no_new_privileges=False,
    freed_memory_scrubbed=False,
    files_confined=False,
    root_read_only=False,
    seccomp=False,
)


@dataclass
class RunningGateway:
    """A gateway that serves, and what a test needs to call and read it."""

    gateway: Gateway
    registry: CollectorRegistry
    log: io.StringIO
    channel: grpc.aio.Channel

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.gateway.frontend.ports[LOOPBACK]}"

    @property
    def stub(self) -> pb_grpc.MattingServiceStub:
        return pb_grpc.MattingServiceStub(self.channel)  # type: ignore[no-untyped-call]  # generated without types

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample's value, 0 where it does not exist yet."""
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running_gateway(*triton: str, serving: bool = True, **changes: object) -> AsyncIterator[RunningGateway]:
    """Run a gateway on Tritons that run already; waits until it serves unless told otherwise."""
    settings = replace(
        Settings(
            listen=(LOOPBACK,),
            metrics_listen="",
            triton=triton,
            repository=Path(__file__).parent / "models",
            imaging=ImagingSettings(worker_count=int(os.environ.get("MATTING_IMAGING_WORKERS", "0"))),
        ),
        **changes,  # type: ignore[arg-type]  # a test names fields of Settings
    )
    registry, stream = CollectorRegistry(), io.StringIO()
    logs = Logs(stream, clock=SystemClock())
    logs.start()
    gateway = Gateway(settings, clock=SystemClock(), metrics=Metrics(registry), logs=logs, hardening=SOFT)
    await gateway.start()
    try:
        options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        address = f"127.0.0.1:{gateway.frontend.ports[LOOPBACK]}"
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            if serving:
                await wait_serving(channel)
            yield RunningGateway(gateway, registry, stream, channel)
    finally:
        await gateway.stop()
        await asyncio.to_thread(logs.close)


async def wait_serving(channel: grpc.aio.Channel, *, serving: bool = True) -> None:
    """Wait, by the health service's own watch, until the gateway serves (or does not)."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - registers its descriptors

    stub = health_pb2_grpc.HealthStub(channel)
    wanted = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    call = stub.Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(300):
        async for answer in call:
            if answer.status == wanted:
                call.cancel()
                return
