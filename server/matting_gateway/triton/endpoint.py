# SPDX-License-Identifier: Apache-2.0
"""One Triton: its channel, its health, what it serves, and the batches in flight there."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError

from matting_gateway.clock import Clock
from matting_gateway.domain import Batch, BatchResult, ModelContract
from matting_gateway.errors import BackendContractError, BackendUnavailableError
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton import failures
from matting_gateway.triton.addresses import Address
from matting_gateway.triton.batch_io import batch_inputs, share_out
from matting_gateway.triton.discovery import Discoverer, Discovery, NotATritonError
from matting_gateway.triton.infer_messages import OutputRequest, read_answer, request_pieces
from matting_gateway.triton.settings import ChannelOptions, PoolSettings

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """What is known of one backend.

    `state` is "up", or why it is not used. `suspects` are models whose last answer broke their contract.
    """

    backend: str
    healthy: bool
    state: str
    server_version: str
    models: tuple[str, ...]
    suspects: tuple[str, ...]
    batches_in_flight: int
    batch_count: int
    failure_count: int


class Endpoint:
    """One Triton.

    Owns the channel, the health and what was discovered; touched on the event loop only.
    Invariants: `healthy` turns true only by a successful look at the server, and false as soon as
    a call or a look fails for the server's sake; the look runs in one task, woken by the channel's
    state, by failures and by time.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        metrics: Metrics,
        settings: PoolSettings,
        on_change: Callable[[], None],
    ) -> None:
        self.address = address
        self.healthy = False
        self.in_flight = 0
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._on_change = on_change
        self._state = "not reached yet"
        self._known: Discovery | None = None
        self._config_read_s = 0.0
        # Model -> time until which it is not used here.
        self._suspects: dict[str, float] = {}
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._batch_count = 0
        self._failure_count = 0

    @property
    def models(self) -> Mapping[str, ModelContract]:
        """What this backend served when last seen well."""
        return self._known.models if self._known is not None else {}

    def serves(self, model: str) -> bool:
        """Whether batches of `model` may be sent here now."""
        return self.healthy and model in self.models and self._suspects.get(model, 0.0) <= self._clock.now()

    def start(self) -> None:
        """Open the channel and begin to look after it."""
        settings = self._settings
        self._channel = settings.channel_factory(
            self.address.target, self.address.server_name, _channel_options(settings)
        )
        self._infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(INFER_METHOD)
        self._discoverer = Discoverer(self._channel, backend=self.address.label, timeout_s=settings.probe_timeout_s)
        self._up = self._metrics.backend_up.labels(self.address.label)
        self._inflight_gauge = self._metrics.backend_inflight.labels(self.address.label)
        self._seconds = self._metrics.backend_seconds.labels(self.address.label)
        self._up.set(0)
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._look_after())]

    async def close(self) -> None:
        """Stop looking after it, fail what is in flight, and take its series away."""
        self._set_health(healthy=False, state="closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()
        for series in (self._metrics.backend_up, self._metrics.backend_inflight, self._metrics.backend_seconds):
            series.remove(self.address.label)

    async def wait_idle(self) -> None:
        """Wait until no batch is in flight."""
        await self._idle.wait()

    def look_again(self) -> None:
        """Ask the server now instead of at the next interval."""
        self._news.set()

    async def run_batch(self, batch: Batch, patience_s: float) -> BatchResult:
        """Send a batch and return its checked answer.

        Raises:
            GatewayError: In the gateway's words, whatever went wrong.
        """
        contract = self.models.get(batch.key.model)
        if not self.healthy or contract is None:
            raise BackendUnavailableError(
                f"Backend {self.address.label} does not serve model {batch.key.model} now; try again."
            )
        self.in_flight += 1
        self._idle.clear()
        self._batch_count += 1
        self._inflight_gauge.inc()
        started_s = self._clock.now()
        try:
            answer = await self._exchange(batch, contract, patience_s)
        except grpc.aio.AioRpcError as exc:
            raise self._failed(exc, batch) from exc
        except (BackendContractError, DecodeError) as exc:
            self._suspect(batch.key.model)
            if isinstance(exc, BackendContractError):
                raise
            raise BackendContractError(
                f"The backend of model {batch.key.model} answered with something that is no inference response."
            ) from exc
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self._idle.set()
            self._inflight_gauge.dec()
            self._seconds.observe(self._clock.now() - started_s)
        self._suspects.pop(batch.key.model, None)
        return answer

    def statistics(self) -> EndpointStatistics:
        now_s = self._clock.now()
        return EndpointStatistics(
            backend=self.address.label,
            healthy=self.healthy,
            state=self._state,
            server_version=self._known.server_version if self._known is not None else "",
            models=tuple(sorted(self.models)),
            suspects=tuple(sorted(model for model, until_s in self._suspects.items() if until_s > now_s)),
            batches_in_flight=self.in_flight,
            batch_count=self._batch_count,
            failure_count=self._failure_count,
        )

    def __repr__(self) -> str:
        return f"<Endpoint {self.address.label}: {self._state}, {self.in_flight} batches in flight>"

    async def _exchange(self, batch: Batch, contract: ModelContract, patience_s: float) -> BatchResult:
        outputs = [OutputRequest(name) for name in batch.key.outputs]
        pieces = request_pieces(batch.key.model, batch.key.version, batch_inputs(batch, contract), outputs)
        message = await self._infer(b"".join(pieces), timeout=max(0.0, patience_s))
        return share_out(read_answer(message), batch, contract, {})

    def _failed(self, error: grpc.aio.AioRpcError, batch: Batch) -> Exception:
        self._failure_count += 1
        if failures.endpoint_failed(error):
            self._set_health(healthy=False, state=_describe(error))
        elif error.code() is grpc.StatusCode.NOT_FOUND:
            self._config_read_s = float("-inf")
        self.look_again()
        return failures.translate(error, backend=self.address.label, model=batch.key.model)

    def _suspect(self, model: str) -> None:
        """Keep batches of a model away for a while: it answers, but not what it promised."""
        self._failure_count += 1
        self._suspects[model] = self._clock.now() + self._settings.longest_retry_s
        self._config_read_s = float("-inf")
        asyncio.get_running_loop().call_later(self._settings.longest_retry_s, self._on_change)
        self.look_again()
        self._on_change()

    def _set_health(self, *, healthy: bool, state: str) -> None:
        changed = healthy != self.healthy
        self.healthy, self._state = healthy, state
        if changed:
            self._up.set(int(healthy))
            _logger.info("backend %s: %s", self.address.label, state)
            self._on_change()

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
        pause_s = self._settings.first_retry_s
        while True:
            self._news.clear()
            await self._look()
            if self.healthy:
                pause_s = self._settings.first_retry_s
                wait_s = self._settings.refresh_interval_s
            else:
                wait_s = pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter needs no secret
                pause_s = min(2 * pause_s, self._settings.longest_retry_s)
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        now_s = self._clock.now()
        stale = not self.healthy or now_s - self._config_read_s >= self._settings.config_interval_s
        try:
            seen = await self._discoverer.look(None if stale else self._known)
        except (grpc.aio.AioRpcError, NotATritonError) as exc:
            self._set_health(healthy=False, state=_describe(exc))
            return
        if stale:
            self._config_read_s = now_s
        changed = self._known is None or seen.models != self._known.models
        self._known = seen
        if changed and self.healthy:
            self._on_change()
        self._set_health(healthy=True, state="up")


def _describe(error: Exception) -> str:
    """Return one line on why a backend is not used."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {(error.details() or 'no details')[:200]}"
    return str(error)


def _channel_options(settings: PoolSettings) -> ChannelOptions:
    return (
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # A batch is tried again by the scheduler, which knows the deadlines; never behind its back.
        ("grpc.enable_retries", 0),
        # A Triton that returns is noticed within a second.
        ("grpc.initial_reconnect_backoff_ms", int(1000 * settings.first_retry_s)),
        ("grpc.min_reconnect_backoff_ms", int(1000 * settings.probe_timeout_s)),
        ("grpc.max_reconnect_backoff_ms", int(1000 * settings.longest_retry_s)),
        # Every backend has a connection of its own.
        ("grpc.use_local_subchannel_pool", 1),
    )
