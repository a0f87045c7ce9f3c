# SPDX-License-Identifier: Apache-2.0
"""The doors as one: boundary, services, health, reflection and ports on one gRPC server."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from grpc_h2.http2.wire.errors import FaultKind
from grpc_h2.server.reading_time import ReadingTime

from matting_gateway.admission.failed_logins import FailedLogins
from matting_gateway.admission.gate import Gate
from matting_gateway.admission.networks import Network, PeerNetworks
from matting_gateway.admission.tenants import Tenants
from matting_gateway.batching.scheduler import Scheduler
from matting_gateway.clock import Clock
from matting_gateway.domain.lifecycle import Lifecycle
from matting_gateway.pipeline import Pipeline
from matting_gateway.privacy.statement import DataPolicy
from matting_gateway.privacy.sweeper import Sweeper
from matting_gateway.rpc.boundary.call_boundary import CallBoundary
from matting_gateway.rpc.boundary.call_dependencies import CallDependencies
from matting_gateway.rpc.boundary.call_log import log_bug, log_end
from matting_gateway.rpc.boundary.call_scope import CallEnd
from matting_gateway.rpc.boundary.small_messages import SmallMessages
from matting_gateway.rpc.boundary.timeouts import Timeouts
from matting_gateway.rpc.photo.matting_service import PHOTO_METHOD, SERVICE, MattingService
from matting_gateway.rpc.photo.policy import policy_to
from matting_gateway.rpc.serving.door_keeper import DoorKeeper
from matting_gateway.rpc.serving.health import Health
from matting_gateway.rpc.serving.load_report import LoadReport
from matting_gateway.rpc.serving.server import add_reflection, make_server
from matting_gateway.rpc.settings import DoorSettings
from matting_gateway.rpc.tensor.inference_service import INFER_METHOD, OpenInference
from matting_gateway.rpc.tensor.inference_service import SERVICE as TENSOR_SERVICE
from matting_gateway.telemetry.logs import Logs
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.telemetry.protocol_faults import ProtocolFaults
from matting_gateway.tracing.sampler import Sampler
from matting_gateway.triton.pool.pool import Pool


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the doors lead to."""

    pipeline: Pipeline
    gate: Gate
    tenants: Tenants
    scheduler: Scheduler
    pool: Pool
    clock: Clock
    metrics: Metrics
    logs: Logs


class GrpcFrontend:
    """Owns the gRPC server, its health, and the ports in use (`ports`, by address asked for)."""

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        settings: DoorSettings,
        default_model: str,
        max_connection_streams: int,
        close_reflection: bool,
        trusted_proxies: tuple[Network, ...],
        tensor_door: bool,
        client_shared_memory: bool,
        reuse_port: bool,
        log_health_checks: bool,
        lifecycle: Callable[[], Lifecycle],
        draining: asyncio.Event,
        policy: Callable[[], DataPolicy],
        sampler: Sampler | None,
    ) -> None:
        self._log_end = log_end(dependencies.logs, health_checks=log_health_checks)
        self._sweeper = Sweeper(now=dependencies.clock.now)
        networks = PeerNetworks(trusted_proxies)
        failed_logins = FailedLogins(clock=dependencies.clock)
        keeper = DoorKeeper(dependencies.tenants, failed_logins, close_reflection=close_reflection)
        self.ports: dict[str, int] = {}
        self._reuse_port = reuse_port
        self.boundary = CallBoundary(
            clock=dependencies.clock,
            metrics=dependencies.metrics,
            default_deadline_s=settings.default_deadline_s,
            small_messages=SmallMessages(
                timeout_s=settings.receive_timeout_s, idle_timeout_s=settings.stream_idle_timeout_s
            ),
            lifecycle=lifecycle,
            admit=keeper.admit,
            on_end=self._call_ended,
            on_bug=log_bug(dependencies.logs),
            always_open=keeper.always_open,
            limits=settings.message_limits,
            sampler=sampler,
        )
        calls = CallDependencies(
            gate=dependencies.gate,
            tenants=dependencies.tenants,
            scope=self.boundary.scope,
            on_bug=log_bug(dependencies.logs),
            draining=draining,
            receiving=Timeouts(settings.receive_timeout_s),
            receive_seconds=dependencies.metrics.stage_seconds.labels("receive"),
            clock=dependencies.clock,
            settings=settings,
        )
        service = MattingService(
            calls,
            pipeline=dependencies.pipeline,
            models=dependencies.pool.models,
            default_model=default_model,
            policy=lambda: policy_to(policy()),
        )
        faults = ProtocolFaults(
            (kind.value for kind in FaultKind),
            metrics=dependencies.metrics,
            logs=dependencies.logs,
            clock=dependencies.clock,
        )
        report = LoadReport(dependencies.scheduler.utilization, self.boundary.came_and_failed, clock=dependencies.clock)
        self.server = make_server(
            (self.boundary,),
            max_message_bytes=settings.max_message_bytes,
            max_connection_streams=max_connection_streams,
            reading=ReadingTime(
                without_deadline_s=min(settings.default_deadline_s, settings.max_residency_s),
                longest_s=settings.max_residency_s,
            ),
            network_of=networks.group_of,
            refused=dependencies.metrics.refused_bytes.inc,
            much_is_free=self._sweeper.much_is_free,
            on_fault=lambda kind, text, peer: faults.note(kind.value, text, peer),
            report=report.block if settings.load_reports else bytes,
            max_connection_age_s=settings.max_connection_age_s,
            max_connection_age_grace_s=settings.max_connection_age_grace_s,
        )
        dependencies.metrics.connections.set_function(lambda: self.server.connection_count)
        self.server.add_method(PHOTO_METHOD, service.remove_background)
        self.server.add_generic_rpc_handlers((service.handlers(),))
        self.services = [SERVICE]
        self._tensors: OpenInference | None = None
        if tensor_door:
            self._tensors = OpenInference(
                calls,
                pool=dependencies.pool,
                queue=dependencies.scheduler,
                metrics=dependencies.metrics,
                client_shared_memory=client_shared_memory,
            )
            self.server.add_method(INFER_METHOD, self._tensors.serve)
            self.server.add_generic_rpc_handlers((self._tensors.handlers(),))
            self.services.append(TENSOR_SERVICE)
        self.health = Health(())
        self._with_reflection = not close_reflection

    async def open(self, addresses: tuple[str, ...], tls: Callable[[], ssl.SSLContext] | None) -> None:
        """Listen and serve.

        Raises:
            OSError: Addresses cannot be listened on; all of them are named.
        """
        self.health = Health(self.services)
        await self.health.start(self.server)
        if self._with_reflection:
            add_reflection(self.server, self.services)
        problems: list[str] = []
        for address in addresses:
            unix = address.startswith("unix:")
            try:
                self.ports[address] = self.server.listen(
                    address, None if unix else tls, reuse_port=self._reuse_port and not unix
                )
            except OSError as exc:
                problems.append(f"--listen: {exc}")
        if problems:
            raise OSError("\n".join(problems))
        self._sweeper.start()
        await self.server.start()

    def _call_ended(self, end: CallEnd) -> None:
        self._log_end(end)
        self._sweeper.call_ended()

    async def send_away(self) -> None:
        """Have callers take their new calls elsewhere; returns once they know. What they begin before is served."""
        await self.server.drain()

    async def close(self) -> None:
        """Refuse new connections and end what is still in progress."""
        await self.server.stop()
        self._sweeper.close()
        if self._tensors is not None:
            self._tensors.close()
        await self.health.close()
