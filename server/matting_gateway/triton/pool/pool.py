# SPDX-License-Identifier: Apache-2.0
"""All Tritons behind the gateway as one: who is there, who serves what, and the way of a batch to one of them."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from open_inference.bounded_cache import BoundedCache

from matting_gateway.clock import Clock
from matting_gateway.domain.job import Batch, BatchKey, BatchResult, EndpointState
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import BackendUnavailableError, ModelNotFoundError
from matting_gateway.readiness import BackendView
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton.discovery.backend_data_handling import BackendDataHandling, together
from matting_gateway.triton.discovery.contract import accepts, instance_count, merge
from matting_gateway.triton.pool.endpoint import Endpoint
from matting_gateway.triton.pool.endpoint_statistics import EndpointStatistics
from matting_gateway.triton.pool.executions import Executions
from matting_gateway.triton.pool.passthrough import Passthrough
from matting_gateway.triton.settings import PoolSettings
from matting_gateway.triton.shared_memory.slabs import remove_left_segments
from matting_gateway.triton.transport.addresses import Address, ConfiguredAddress

_MAX_CACHED_KEYS = 4096


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Every backend the pool knows of."""

    endpoints: tuple[EndpointStatistics, ...]


class Pool:
    """The Tritons.

    Owns the endpoints and the view of them that others get; touched on the event loop only.
    Invariants: there is one endpoint for each place that the configured addresses stand for when
    last looked up; the cached views are those of the present endpoints, since every change empties them.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        clock: Clock,
        metrics: Metrics,
        settings: PoolSettings,
        on_change: Callable[[], None],
    ) -> None:
        """Store the configuration.

        Raises:
            ValueError: An address is not understood.
        """
        self._configured = tuple(ConfiguredAddress.parse(text) for text in dict.fromkeys(addresses))
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._on_change = on_change
        self.executions = Executions()
        self.passthrough = Passthrough(lambda: tuple(self._endpoints.values()))
        self._unknown: dict[ConfiguredAddress, str] = {}
        self._places: dict[ConfiguredAddress, tuple[Address, ...]] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._states = BoundedCache[BatchKey, tuple[EndpointState, ...]](_MAX_CACHED_KEYS)
        self._models: dict[str, ModelContract] | None = None
        self._lookups: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._lookup_now = asyncio.Event()

    async def start(self) -> None:
        """Look up the addresses and begin to look after what they stand for; does not wait for any to answer."""
        remove_left_segments()
        await asyncio.gather(*(self._look_up(configured) for configured in self._configured))
        self._lookups = [
            asyncio.create_task(self._follow(configured)) for configured in self._configured if configured.is_name
        ]

    async def close(self) -> None:
        """Close every endpoint; batches in flight fail."""
        for task in self._lookups:
            task.cancel()
        await asyncio.gather(*self._lookups, return_exceptions=True)
        endpoints, self._endpoints = list(self._endpoints.values()), {}
        await asyncio.gather(*(endpoint.close() for endpoint in endpoints), *self._closing)

    def endpoints(self, key: BatchKey) -> tuple[EndpointState, ...]:
        """Return the backends that have the key's model, healthy or not."""
        states = self._states.get(key)
        if states is None:
            states = self._states[key] = tuple(self._present(key))
        return states

    async def run_batch(self, endpoint: str, batch: Batch, patience_s: float) -> BatchResult:
        """Send a batch to a backend and return its checked answer, as views.

        Raises:
            BackendUnavailableError: The backend is gone, does not serve the model, or took longer than `patience_s`.
            BackendContractError: It answered with something else than its model's contract says.
            ModelFailedError: It refused or failed the batch.
        """
        chosen = self._endpoints.get(endpoint)
        if chosen is None:
            raise BackendUnavailableError(f"Backend {endpoint} is gone; try again.")
        return await chosen.run_batch(batch, patience_s)

    def models(self) -> tuple[ModelContract, ...]:
        """Return every model that some backend can serve now, by name."""
        if self._models is None:
            found: dict[str, list[ModelContract]] = {}
            for endpoint in self._endpoints.values():
                if endpoint.healthy:
                    for name, contract in endpoint.models.items():
                        found.setdefault(name, []).append(contract)
            self._models = {name: merge(found[name]) for name in sorted(found)}
        return tuple(self._models.values())

    def model(self, name: str, version: str = "") -> ModelContract:
        """Return a model's contract; no version means whichever is newest.

        Raises:
            ModelNotFoundError: The backends do not have it.
            BackendUnavailableError: None is reachable, or those that had it are not.
        """
        self.models()
        contract = (self._models or {}).get(name)
        if contract is None:
            if any(e.healthy and name in e.unready for e in self._endpoints.values()):
                raise BackendUnavailableError(f"Model {name!r} is not loaded now; try again.", retry_after_s=1.0)
            if not any(e.healthy for e in self._endpoints.values()) or any(
                name in e.models for e in self._endpoints.values()
            ):
                raise BackendUnavailableError(
                    f"No backend can serve the model now{self._found()}; try again.", retry_after_s=1.0
                )
            raise ModelNotFoundError(
                f"There is no model {name!r}; ListModels and RepositoryIndex name those there are."
            )
        if version and version not in contract.versions:
            raise ModelNotFoundError(
                f"Model {name!r} has no version {version!r} ready; it has {', '.join(contract.versions)}."
            )
        return contract

    def can_serve(self, name: str) -> bool:
        """Whether a batch of the model could be sent somewhere now."""
        return any(endpoint.serves(name) for endpoint in self._endpoints.values())

    def data_handlings(self) -> dict[str, BackendDataHandling]:
        """Return what the backends behind each configured address do with tensors, as they say themselves."""
        told = {label: endpoint.statistics().data_handling for label, endpoint in self._endpoints.items()}
        return {
            configured.text: together(
                told.get(place.label, BackendDataHandling()) for place in self._places.get(configured, ())
            )
            for configured in self._configured
        }

    def views(self) -> tuple[BackendView, ...]:
        """Return how each backend is, and each name that stands for none."""
        unknown = (
            BackendView(configured.text, healthy=False, seen=seen, advice="check the name, and the name server")
            for configured, seen in self._unknown.items()
            if not self._places.get(configured)
        )
        return (*(endpoint.view() for endpoint in self._endpoints.values()), *unknown)

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(tuple(endpoint.statistics() for endpoint in self._endpoints.values()))

    def __repr__(self) -> str:
        up = sum(endpoint.healthy for endpoint in self._endpoints.values())
        return f"<Pool: {up} of {len(self._endpoints)} backends up>"

    def _present(self, key: BatchKey) -> Iterable[EndpointState]:
        for label, endpoint in self._endpoints.items():
            contract = endpoint.models.get(key.model)
            if contract is not None and accepts(contract, key):
                instances = instance_count(contract)
                yield EndpointState(
                    endpoint=label,
                    healthy=endpoint.serves(key.model),
                    slot_count=instances * self._settings.slots_per_instance,
                    instance_count=instances,
                    max_batch_size=max(1, contract.max_batch_size),
                )

    def _found(self) -> str:
        """Return what was found where a backend should be, in parentheses; "" before any was looked at."""
        seen = next((view for view in self.views() if not view.healthy and view.seen), None)
        return f" ({seen.address}: {seen.seen})" if seen is not None else ""

    def _changed(self) -> None:
        self._states.clear()
        self._models = None
        if any(not endpoint.healthy for endpoint in self._endpoints.values()):
            self._lookup_now.set()
        self._on_change()

    async def _follow(self, configured: ConfiguredAddress) -> None:
        """Look a name up again at each interval, and sooner when a backend fails."""
        while True:
            try:
                async with asyncio.timeout(self._settings.resolve_interval_s):
                    await self._lookup_now.wait()
            except TimeoutError:
                pass
            self._lookup_now.clear()
            await self._look_up(configured)

    async def _look_up(self, configured: ConfiguredAddress) -> None:
        try:
            places = await configured.resolve()
        except OSError as exc:
            seen = f"the name cannot be looked up: {exc.strerror}"
            if self._unknown.get(configured) != seen:
                self._unknown[configured] = seen
                self._changed()
            return
        if self._unknown.pop(configured, None) is not None:
            self._changed()
        if places != self._places.get(configured):
            self._places[configured] = places
            self._follow_places()

    def _follow_places(self) -> None:
        """Make the endpoints those of the places known now."""
        wanted = {place.label: place for places in self._places.values() for place in places}
        for label in self._endpoints.keys() - wanted.keys():
            task = asyncio.create_task(self._retire(self._endpoints.pop(label)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for label, place in wanted.items():
            if label not in self._endpoints:
                self._endpoints[label] = Endpoint(
                    place,
                    clock=self._clock,
                    metrics=self._metrics,
                    settings=self._settings,
                    executions=self.executions,
                    on_change=self._changed,
                )
        self._changed()

    async def _retire(self, endpoint: Endpoint) -> None:
        """Let a backend that is no longer listed finish what it has, then close it."""
        await endpoint.wait_idle()
        await endpoint.close()
