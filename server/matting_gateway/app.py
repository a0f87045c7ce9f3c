# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds every room in order of dependency, and owns the lifecycle.

One event loop a process; the state of every room is touched on it alone. Worker threads and
processes get immutable values, or an exclusive lease, and return values.
"""

import asyncio
import importlib
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from matting_gateway.admission.gate import Gate
from matting_gateway.admission.tenants import Tenants, tenants_from_file
from matting_gateway.batching.scheduler import Scheduler
from matting_gateway.clock import Clock
from matting_gateway.configuration.settings import Settings
from matting_gateway.domain.job import BatchKey
from matting_gateway.domain.lifecycle import Lifecycle
from matting_gateway.errors import GatewayError
from matting_gateway.imaging.service import ImagingService
from matting_gateway.pipeline import Pipeline
from matting_gateway.policy_facts import policy_facts
from matting_gateway.privacy.hardening import Hardening
from matting_gateway.privacy.statement import DataPolicy, data_policy
from matting_gateway.readiness import BackendView, Readiness, readiness
from matting_gateway.reloading.client_tls import ClientIdentity, ClientTlsSettings, client_tls
from matting_gateway.reloading.reloads import Reloads
from matting_gateway.reloading.watched_files import WatchedFiles
from matting_gateway.rpc.serving.grpc_frontend import Dependencies, GrpcFrontend
from matting_gateway.rpc.serving.readiness_report import ReadinessReport
from matting_gateway.rpc.serving.tls import server_tls
from matting_gateway.telemetry.exposition import Exposition
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.tracing.exporter import Collector, Exporter
from matting_gateway.tracing.sampler import Sampler
from matting_gateway.triton.pool.pool import Pool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GatewayStatistics:
    """The lifecycle, the calls in progress, and whether a photo could be served now."""

    lifecycle: Lifecycle
    call_count: int
    serving: bool


class Gateway:
    """The whole service.

    Owns the lifecycle, which only moves STARTING -> SERVING -> DRAINING -> STOPPED, and every
    room. `own_backend` is the address of a Triton that is run for this gateway alone; it takes
    the place of the settings' addresses; `own_backend_starting` tells whether it is not
    up yet. `start`, `drain` and `stop` are called once each, in this order; `stop` at any time.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        metrics: Metrics,
        logs: Logs,
        hardening: Hardening,
        own_backend: str | None = None,
        own_backend_starting: Callable[[], bool] | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._metrics = metrics
        self._logs = logs
        self._hardening = hardening
        self._own_backend = own_backend
        self._own_backend_starting = own_backend_starting
        self._draining = asyncio.Event()
        self._closing = AsyncExitStack()
        self._reloads = Reloads(settings.certificate_files, logs=logs, metrics=metrics)
        self._lifecycle = Lifecycle.STARTING
        self.tenants = self._make_tenants()
        self.imaging = ImagingService(settings.imaging, clock=clock)
        self.pool = self._make_pool()
        self.scheduler = Scheduler(
            run_batch=self.pool.run_batch,
            endpoints=self.pool.endpoints,
            clock=clock,
            metrics=metrics,
            settings=settings.batching,
            fallback=self._fallback,
            tenant_weight=self.tenants.share_of,
        )
        self.gate = Gate(settings.gate, clock=clock, metrics=metrics, unseen=self.scheduler.offered_unseen)
        metrics.memory_budget.set(settings.gate.budget_bytes)
        metrics.memory_available.set_function(lambda: settings.gate.budget_bytes - self.gate.statistics().used_bytes)
        self._show_workers()
        self._traces = self._make_exporter()
        self.frontend = self._make_doors()
        self._report = ReadinessReport(
            health=lambda: self.frontend.health.update, logs=logs, metrics=metrics, default_model=settings.default_model
        )
        self.exposition = Exposition(
            metrics.registry,
            ask=self.readiness,
            may_read=self._may_read_metrics if settings.close_metrics else None,
        )
        self._tell()

    def statistics(self) -> GatewayStatistics:
        return GatewayStatistics(self._lifecycle, self.frontend.boundary.call_count, self.frontend.health.serving)

    def __repr__(self) -> str:
        return f"<Gateway {self._lifecycle.value}>"

    # --- lifecycle ------------------------------------------------------------------------

    async def start(self) -> None:
        """Start every room and open the doors; backends may still be coming up when this returns.

        Raises:
            OSError: An address cannot be listened on.
            WatchedFileError: A certificate, key or tenants file cannot be used.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        if self._traces is not None:
            self._closing.push_async_callback(self._traces.close)
            self._traces.start()
        self._closing.push_async_callback(self.imaging.close)
        await self.imaging.start()
        self._closing.push_async_callback(self.scheduler.close)
        self.scheduler.start()
        self._closing.push_async_callback(self.pool.close)
        await self.pool.start()
        self._closing.push_async_callback(self.frontend.close)
        tls = None
        if settings.tls is not None:
            tls = self._watched(server_tls(settings.tls, clock=self._clock, on_reload=self._reloads.report)).value
        await self._listen(tls)
        for address, port in self.frontend.ports.items():
            self._logs.event(Event.LISTENING, state="grpc", address=_with_port(address, port))
        if settings.metrics_listen:
            address = _with_port(settings.metrics_listen, self.exposition.port)
            self._logs.event(Event.LISTENING, state="metrics", address=address)
        self._reloads.tell_expiry()
        self._move_to(Lifecycle.SERVING)

    async def _listen(self, tls: Callable[[], ssl.SSLContext] | None) -> None:
        """Listen on every address, and name all on which that cannot be."""
        problems: list[str] = []
        try:
            await self.frontend.open(self.settings.listen, tls)
        except OSError as exc:
            problems.append(str(exc))
        if self.settings.metrics_listen:
            host, _, port = self.settings.metrics_listen.rpartition(":")
            self._closing.callback(self.exposition.close)
            try:
                self.exposition.start(host.strip("[]"), int(port))
            except OSError as exc:
                problems.append(f"--metrics-listen: {exc}")
        if problems:
            raise OSError("\n".join(problems))

    def reload(self) -> None:
        """Read the files of certificates and tenants again now; one that cannot be used changes nothing."""
        self._reloads.read_again()

    async def drain(self) -> None:
        """Take nothing new, and wait until what was accepted is answered, at most the drain time-out."""
        self._move_to(Lifecycle.DRAINING)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_timeout_s):
                try:
                    await self.frontend.send_away()
                finally:
                    self._draining.set()
                await self.frontend.boundary.wait_idle()
                await self.scheduler.drain()

    async def stop(self) -> None:
        """Close the doors and every room, the last opened first."""
        self._move_to(Lifecycle.STOPPED)
        await self._closing.aclose()

    def _move_to(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._tell()

    # --- how it is ------------------------------------------------------------------------

    def readiness(self) -> Readiness:
        """Return whether the default model can be served now, and what is missing if not."""
        return readiness(self._lifecycle, self._backends(), self.settings.default_model)

    def _backends(self) -> tuple[BackendView, ...]:
        views = self.pool.views()
        if self._own_backend_starting is None or not self._own_backend_starting():
            return views
        return tuple(replace(view, starting=True) for view in views)

    def _tell(self) -> None:
        views = self._backends()
        self._report.tell(readiness(self._lifecycle, views, self.settings.default_model), views)

    # --- rooms ----------------------------------------------------------------------------

    def _make_tenants(self) -> Tenants:
        path = self.settings.tenants_file
        if path is None:
            return Tenants(None, clock=self._clock)
        file = tenants_from_file(
            path, clock=self._clock, on_reload=self._reloads.report, on_problem=self._log_tenant_problem
        )
        return Tenants(self._watched(file), clock=self._clock)

    def _make_pool(self) -> Pool:
        settings = self.settings
        addresses = settings.triton if self._own_backend is None else (self._own_backend,)
        scrub, ours = settings.hardening.scrub_memory, self._own_backend is not None
        pool = replace(
            settings.pool,
            wanted_model=settings.default_model,
            tls=self._client_tls(settings.triton_tls),
            scrub=scrub,
            scrub_backends=scrub and ours,
        )
        return Pool(
            addresses, clock=self._clock, metrics=self._metrics, settings=pool, on_change=self._backends_changed
        )

    def _client_tls(self, settings: ClientTlsSettings | None) -> WatchedFiles[ClientIdentity] | None:
        if settings is None:
            return None
        return self._watched(client_tls(settings, clock=self._clock, on_reload=self._reloads.report))

    def _watched(self, files: WatchedFiles[T]) -> WatchedFiles[T]:
        files.value()  # files that cannot be used stop the start, not the first call
        self._reloads.add(files.reload)
        return files

    def _show_workers(self) -> None:
        metrics, statistics = self._metrics, self.imaging.statistics
        metrics.imaging_workers.set(statistics().worker_count)
        metrics.imaging_steps.labels("working").set_function(lambda: statistics().active - statistics().waiting)
        metrics.imaging_steps.labels("waiting").set_function(lambda: statistics().waiting)
        metrics.imaging_workers_killed.read_from(lambda: statistics().killed_total)

    def _make_exporter(self) -> Exporter | None:
        tracing = self.settings.tracing
        if not tracing.endpoint:
            return None
        otlp = importlib.import_module("matting_gateway.tracing.otlp")  # with OpenTelemetry, which others need not have
        tls = self._client_tls(self.settings.otlp_tls)
        collector: Collector = otlp.OtlpCollector(
            tracing.endpoint, clock=self._clock, identity=None if tls is None else tls.value
        )
        return Exporter(collector, clock=self._clock, metrics=self._metrics, logs=self._logs)

    def _make_doors(self) -> GrpcFrontend:
        settings, traces = self.settings, self._traces
        pipeline = Pipeline(
            imaging=self.imaging,
            scheduler=self.scheduler,
            model=self.pool.model,
            default_model=settings.default_model,
            clock=self._clock,
            metrics=self._metrics,
        )
        return GrpcFrontend(
            Dependencies(
                pipeline=pipeline,
                gate=self.gate,
                tenants=self.tenants,
                scheduler=self.scheduler,
                pool=self.pool,
                clock=self._clock,
                metrics=self._metrics,
                logs=self._logs,
            ),
            settings=settings.door,
            default_model=settings.default_model,
            max_connection_streams=settings.gate.max_permit_count,
            close_reflection=settings.close_reflection,
            trusted_proxies=settings.trusted_proxies,
            tensor_door=settings.tensor_door,
            client_shared_memory=settings.client_shared_memory,
            reuse_port=settings.reuse_port,
            log_health_checks=settings.log_health_checks,
            lifecycle=self._lifecycle_to_callers,
            draining=self._draining,
            policy=self._policy,
            sampler=None if traces is None else Sampler(settings.tracing, clock=self._clock, on_end=traces.put),
        )

    # --- what rooms ask of one another ----------------------------------------------------

    def _backends_changed(self) -> None:
        self.scheduler.endpoints_changed()
        self._tell()

    def _lifecycle_to_callers(self) -> Lifecycle:
        """Return what a call that comes now finds: what is sent before its caller can know that we drain is served."""
        if self._lifecycle is Lifecycle.DRAINING and not self._draining.is_set():
            return Lifecycle.SERVING
        return self._lifecycle

    def _fallback(self, key: BatchKey) -> BatchKey | None:
        """Return the key of the cheaper model that a model's configuration names, if it serves."""
        try:
            name = self.pool.model(key.model, key.version).parameters.get("matting_stand_in", "")
            if name and not key.version and self.pool.can_serve(name):
                return replace(key, model=name)
        except GatewayError:
            return None
        return None

    def _policy(self) -> DataPolicy:
        data_handlings = self.pool.data_handlings()
        return data_policy(policy_facts(self.settings, self._hardening, data_handlings, own_backend=self._own_backend))

    def _may_read_metrics(self, authorization: str) -> bool:
        try:
            return self.tenants.identify(authorization.removeprefix("Bearer ").strip() or None, ()).operator
        except GatewayError:
            return False

    def _log_tenant_problem(self, problem: str) -> None:
        self._logs.event(Event.TENANT_REFUSED, detail=problem)


def _with_port(address: str, port: int) -> str:
    """Return an address with the port that port 0 became."""
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
