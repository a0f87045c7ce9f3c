# SPDX-License-Identifier: Apache-2.0
"""Whether the gateway is ready, told to everybody: health, the gauge, and the log when something changes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from matting_gateway.readiness import BackendView, Readiness, ServingState, Trouble
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.telemetry.metrics import Metrics

_EVENTS = {
    ServingState.SERVING: Event.SERVING,
    ServingState.DRAINING: Event.DRAINING,
    ServingState.STOPPED: Event.STOPPED,
}


class HealthUpdate(Protocol):
    """Takes whether the gateway serves, and each model of it."""

    def __call__(self, *, serving: bool, models: Mapping[str, bool]) -> None: ...


class ReadinessReport:
    """Tells of each change once.

    Owns the memory of what was told. Invariant: log, gauge and health say the same, as all of it is told at once from
    the same value.

    Args:
        health: Returns the health service in use.
        default_model: Whose troubles are told.
    """

    def __init__(self, *, health: Callable[[], HealthUpdate], logs: Logs, metrics: Metrics, default_model: str) -> None:
        self._health = health
        self._logs = logs
        self._metrics = metrics
        self._default_model = default_model
        self._state = ServingState.STARTING
        self._troubles: frozenset[Trouble] = frozenset()
        self._backends: dict[str, tuple[bool, str]] = {}
        self._on_cpu: frozenset[str] = frozenset()
        self._refused: dict[str, str] = {}

    def tell(self, readiness: Readiness, backends: Sequence[BackendView]) -> None:
        """Tell how the gateway and its backends are now."""
        self._tell_backends(backends)
        self._tell_misplaced(backends)
        self._tell_refused(backends)
        self._health()(serving=readiness.ready, models=readiness.models)
        for state in ServingState:
            self._metrics.lifecycle.labels(state.value).set(state is readiness.state)
        event = _EVENTS.get(readiness.state)
        if event is not None and readiness.state is not self._state:
            self._logs.event(event)
        troubles = frozenset(readiness.troubles)
        for trouble in readiness.troubles:
            if trouble not in self._troubles:
                self._logs.event(
                    Event.NOT_READY,
                    level="warning",
                    reason=trouble.missing.value,
                    model=self._default_model,
                    backend=trouble.backend,
                    cause=trouble.seen,
                    advice=trouble.advice,
                )
        self._state, self._troubles = readiness.state, troubles

    def _tell_backends(self, backends: Sequence[BackendView]) -> None:
        told, self._backends = self._backends, {}
        for view in backends:
            before = told.get(view.address)
            now = (view.healthy, view.seen)
            if not view.seen or (view.starting and not view.healthy and before is None):
                continue  # not looked at yet, or not there yet
            self._backends[view.address] = now
            if now == before:
                continue
            if view.healthy:
                self._logs.event(Event.BACKEND_UP, backend=view.address)
            else:
                self._logs.event(
                    Event.BACKEND_DOWN, level="warning", backend=view.address, detail=view.seen, advice=view.advice
                )

    def _tell_misplaced(self, backends: Sequence[BackendView]) -> None:
        misplaced = {model: view.address for view in backends for model in view.on_cpu_instead}
        for model in sorted(misplaced.keys() - self._on_cpu):
            detail = "the configuration asks for a GPU, and the model is served on the CPU"
            self._logs.event(Event.GPU_UNUSED, level="warning", model=model, backend=misplaced[model], detail=detail)
        self._on_cpu = frozenset(misplaced)

    def _tell_refused(self, backends: Sequence[BackendView]) -> None:
        told, self._refused = self._refused, {view.address: view.credentials_refused for view in backends}
        for view in backends:
            if view.credentials_refused and view.credentials_refused != told.get(view.address):
                self._logs.event(
                    Event.CREDENTIALS_REFUSED,
                    level="warning",
                    backend=view.address,
                    detail=view.credentials_refused,
                    advice="check the files of --triton-tls-...; those of before are used until new ones work",
                )
