# SPDX-License-Identifier: Apache-2.0
"""One Triton: its health, what it serves, and the batches in flight there."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import grpc

from matting_gateway.clock import Clock
from matting_gateway.domain.job import Batch, BatchResult
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import BackendContractError, BackendUnavailableError
from matting_gateway.readiness import BackendView
from matting_gateway.telemetry.instance_series import InstanceSeries
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton.discovery.backend_data_handling import BackendDataHandling
from matting_gateway.triton.discovery.contract import gpu_unused
from matting_gateway.triton.discovery.discovery import Discovery
from matting_gateway.triton.pool.endpoint_statistics import EndpointStatistics
from matting_gateway.triton.pool.executions import Executions
from matting_gateway.triton.pool.scrubbing import Scrubber
from matting_gateway.triton.settings import PoolSettings
from matting_gateway.triton.transport import failures
from matting_gateway.triton.transport.addresses import Address
from matting_gateway.triton.transport.contact import Finding
from matting_gateway.triton.transport.health_monitor import HealthMonitor
from matting_gateway.triton.transport.triton_client import INFER_METHOD, UNWELL, TritonClient

_UP = Finding("up", "")
_HUNG = "look at its log and its load; it is asked again until it answers"

# What a call that is passed on asks for, and how long it may take, is its caller's choice: no fault of the backend.
_CALLERS_CHOICE = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED)


class Endpoint:
    """One Triton, looked after from when this is made.

    Owns the health and what was discovered; touched on the event loop only.
    Invariants: `healthy` turns true only by a successful look at the server, and false as soon as
    a call or a look fails for the server's sake.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        metrics: Metrics,
        settings: PoolSettings,
        executions: Executions,
        on_change: Callable[[], None],
    ) -> None:
        self.address = address
        self.healthy = False
        self.in_flight = 0
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._on_change = on_change
        self._seen = Finding("", "")  # nothing before the first look
        self._refused = ""
        self._known: Discovery | None = None
        self._config_read_s = 0.0
        # Model -> time until which it is not used here.
        self._suspects: dict[str, float] = {}
        self._instance_series = InstanceSeries(metrics.model_instances)
        self._idle = asyncio.Event()
        self._idle.set()
        self._executions = executions
        self._scrubber = Scrubber(self._send, self._contract) if settings.scrub_backends else None
        self._batch_count = self._failure_count = 0
        self._up = metrics.backend_up.labels(address.label)
        self._up.set(0)
        self._monitor = HealthMonitor(address, settings, self._look, self._renewed)

    @property
    def models(self) -> Mapping[str, ModelContract]:
        """What this backend served when last seen well."""
        return self._known.models if self._known is not None else {}

    @property
    def unready(self) -> Mapping[str, str]:
        """What it has and did not serve when last seen, with the state or the reason."""
        return self._known.unready if self._known is not None else {}

    def serves(self, model: str) -> bool:
        """Whether batches of `model` may be sent here now."""
        return self.healthy and model in self.models and self._suspects.get(model, 0.0) <= self._clock.now()

    def view(self) -> BackendView:
        """Return how it is, for whoever is to be told."""
        models = self.models if self.healthy else {}
        return BackendView(
            self.address.label,
            self.healthy,
            seen=self._seen.seen,
            advice=self._seen.advice,
            models=frozenset(models),
            unready=self.unready if self.healthy else {},
            suspects=frozenset(model for model in models if not self.serves(model)),
            credentials_refused=self._refused,
            on_cpu_instead=frozenset(name for name, contract in models.items() if gpu_unused(contract)),
        )

    async def close(self) -> None:
        """Stop looking after it, fail what is in flight, and take its series away."""
        self._set_health(Finding("closed", ""))
        if self._scrubber is not None:
            await self._scrubber.close()
        await self._monitor.close()
        self._metrics.backend_up.remove(self.address.label)
        self._instance_series.tell(())

    async def wait_idle(self) -> None:
        """Wait until no batch is in flight."""
        await self._idle.wait()

    def look_again(self) -> None:
        """Ask the server now instead of at the next interval."""
        self._monitor.wake()

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
        started_s = self._clock.now()
        self._batch_count += 1
        with self._in_use(batch.key.model) as client:
            try:
                result = await client.run_batch(batch, contract, patience_s)
            except grpc.aio.AioRpcError as exc:
                self._note_failure(exc)
                raise failures.translate(exc, backend=self.address.label, model=batch.key.model) from exc
            except TimeoutError as exc:
                self._set_health(Finding("a batch was not answered in time", _HUNG))
                self.look_again()
                raise failures.BackendHungError(
                    f"Backend {self.address.label} did not answer in time; try again."
                ) from exc
            except BackendContractError:
                self._suspect(batch.key.model)
                raise
        self._suspects.pop(batch.key.model, None)
        self._executions.add(batch.key.model, result.version, batch.row_count, self._clock.now() - started_s)
        return result

    async def forward(
        self, method: str, request: bytes, timeout_s: float, *, model: str = "", traceparent: str = ""
    ) -> bytes:
        """Pass a unary call on as it came. `model` is the one whose tensors it carries, if any.

        Raises:
            BackendUnavailableError: The backend went away.
            DeadlineExpiredError: It did not answer within `timeout_s`.
            ModelFailedError: Its own refusal.
        """
        with self._in_use(model) as client:
            try:
                return await client.forward(method, request, timeout_s, traceparent)
            except grpc.aio.AioRpcError as exc:
                if exc.code() not in _CALLERS_CHOICE:
                    self._note_failure(exc)
                raise failures.translate_forwarded(exc, backend=self.address.label) from exc

    def open_stream(self, method: str, *, model: str, traceparent: str = "") -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """Open a stream of messages as they come, with tensors of `model`."""
        stream, scrubber = self._client.open_stream(method, traceparent), self._scrubber
        if scrubber is not None:
            stream.add_done_callback(lambda _: scrubber.used(model))
        return stream

    def statistics(self) -> EndpointStatistics:
        now_s = self._clock.now()
        return EndpointStatistics(
            backend=self.address.label,
            healthy=self.healthy,
            state=self._seen.seen or "not reached yet",
            server_version=self._known.server_version if self._known is not None else "",
            models=tuple(sorted(self.models)),
            suspects=tuple(sorted(model for model, until_s in self._suspects.items() if until_s > now_s)),
            batches_in_flight=self.in_flight,
            batch_count=self._batch_count,
            failure_count=self._failure_count,
            shared_memory=self._client.memory.statistics(),
            data_handling=self._known.data_handling if self._known is not None else BackendDataHandling(),
        )

    def __repr__(self) -> str:
        return f"<Endpoint {self.address.label}: {self._seen.seen}, {self.in_flight} batches in flight>"

    @property
    def _client(self) -> TritonClient:
        return self._monitor.client

    def _contract(self, model: str) -> ModelContract | None:
        return self.models.get(model)

    async def _send(self, request: bytes, timeout_s: float) -> None:
        await self.forward(INFER_METHOD, request, timeout_s)

    @contextmanager
    def _in_use(self, model: str) -> Iterator[TritonClient]:
        self.in_flight += 1
        self._idle.clear()
        scrubbed = self._scrubber.using(model) if self._scrubber is not None and model else nullcontext()
        try:
            with scrubbed, self._client.in_use() as client:
                yield client
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self._idle.set()

    def _note_failure(self, error: grpc.aio.AioRpcError) -> None:
        self._failure_count += 1
        if failures.endpoint_failed(error):
            self._set_health(Finding(failures.describe(error), UNWELL))
        elif error.code() is grpc.StatusCode.NOT_FOUND:
            self._config_read_s = float("-inf")
        self.look_again()

    def _suspect(self, model: str) -> None:
        """Keep batches of a model away for a while: it answers, but not what it promised."""
        self._failure_count += 1
        self._suspects[model] = self._clock.now() + self._settings.longest_retry_s
        self._config_read_s = float("-inf")
        asyncio.get_running_loop().call_later(self._settings.longest_retry_s, self._on_change)
        self.look_again()
        self._on_change()

    def _renewed(self, problem: str) -> None:
        """Take note of whether new credentials work; the old ones are used until they do."""
        if problem != self._refused:
            self._refused = problem
            self._on_change()

    def _set_health(self, finding: Finding | None) -> None:
        """Take note of what is wrong with it, or that nothing is."""
        healthy, seen = finding is None, finding or _UP
        changed, told = healthy != self.healthy, seen != self._seen
        self.healthy, self._seen = healthy, seen
        if changed:
            self._up.set(int(healthy))
            if healthy:  # perhaps it was started anew, and knows nothing of the slabs
                self._client.memory.forget()
        if told:
            self._on_change()

    async def _look(self) -> bool:
        now_s = self._clock.now()
        stale = not self.healthy or now_s - self._config_read_s >= self._settings.config_interval_s
        client = self._client
        seen = await client.look(self._known, afresh=stale)
        if isinstance(seen, Finding):
            self._set_health(seen)
            return False
        if stale:
            self._config_read_s = now_s
        known, self._known = self._known, seen
        changed = known is None or (seen.models, seen.unready) != (known.models, known.unready)
        self._instance_series.tell(seen.models.values())
        if changed and self.healthy:
            self._on_change()
        self._set_health(None)
        await client.memory.give_up_idle()
        return True
