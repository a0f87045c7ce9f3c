# SPDX-License-Identifier: Apache-2.0
"""Whether the gateway can serve, and what is missing: one answer for log, health, probes and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from matting_gateway.domain.lifecycle import Lifecycle

# Names of models in a line, before it says how many more there are.
_MAX_NAMES = 20


class ServingState(Enum):
    """What the gateway is doing, as everybody is told."""

    STARTING = "starting"
    NOT_READY = "not_ready"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


class Missing(Enum):
    """Why the default model cannot be served."""

    BACKEND_UNAVAILABLE = "backend_unavailable"
    BACKEND_STARTING = "backend_starting"
    MODEL_MISSING = "model_missing"
    MODEL_LOADING = "model_loading"
    MODEL_FAILED = "model_failed"
    GPU_UNUSED = "gpu_unused"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is missing: on which Triton, what was seen there, and what to do about it."""

    missing: Missing
    backend: str
    seen: str
    advice: str

    def __str__(self) -> str:
        return f"{self.backend}: {self.seen}; {self.advice}" if self.advice else f"{self.backend}: {self.seen}"


@dataclass(frozen=True, slots=True)
class BackendView:
    """One Triton as it was last seen.

    Attributes:
        address: How it is called.
        healthy: Whether it answered well.
        seen: What was seen of it; empty before the first look.
        advice: What to do about that, where it is not well.
        models: Models that are ready there.
        unready: Models that it has and cannot serve: the state that Triton gives, or why.
        suspects: Those of `models` that are not used for a moment, as they did not keep to their contract.
        credentials_refused: Why new credentials towards it do not work, so that the old ones are still used.
        on_cpu_instead: Those of `models` that ask for a GPU and are served on a CPU.
        starting: Whether it is a Triton of our own that has not finished loading its models.
    """

    address: str
    healthy: bool
    seen: str = ""
    advice: str = ""
    models: frozenset[str] = frozenset()
    unready: Mapping[str, str] = field(default_factory=dict)
    suspects: frozenset[str] = frozenset()
    on_cpu_instead: frozenset[str] = frozenset()
    starting: bool = False
    credentials_refused: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state, what is missing while it is NOT_READY, and which models could be served well."""

    state: ServingState
    troubles: tuple[Trouble, ...] = ()
    models: Mapping[str, bool] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether a photo for the default model would be taken now, and could be served."""
        return self.state is ServingState.SERVING

    def __str__(self) -> str:
        return "\n".join((self.state.value, *map(str, self.troubles)))


def readiness(lifecycle: Lifecycle, backends: Sequence[BackendView], default_model: str) -> Readiness:
    """Return whether the default model can be served, from what is known now."""
    open_ = lifecycle is Lifecycle.SERVING
    names = {name for backend in backends for name in (*backend.models, *backend.unready)}
    # A model that asks for a GPU and is served on a CPU anywhere is not well, though it answers: it would only be
    # noticed by the bill.
    misplaced = {name for backend in backends for name in backend.on_cpu_instead}
    models = {
        name: open_ and name not in misplaced and any(_serves(backend, name) for backend in backends)
        for name in sorted(names)
    }
    if not open_:
        return Readiness(ServingState(lifecycle.value), models=models)
    if models.get(default_model, False):
        return Readiness(ServingState.SERVING, models=models)
    if any(not backend.seen for backend in backends):
        return Readiness(ServingState.STARTING, models=models)
    if default_model in misplaced:  # only where it is on a CPU, as it is served elsewhere
        backends = [backend for backend in backends if default_model in backend.on_cpu_instead]
    troubles = tuple(_trouble(backend, default_model) for backend in backends)
    return Readiness(ServingState.NOT_READY, troubles, models)


def _serves(backend: BackendView, model: str) -> bool:
    return backend.healthy and model in backend.models and model not in backend.suspects


def _trouble(backend: BackendView, model: str) -> Trouble:
    """Return why a Triton cannot serve the model."""
    address = backend.address
    if backend.starting and not backend.healthy:
        advice = "it serves as soon as it has loaded its models, which takes from seconds to minutes"
        return Trouble(Missing.BACKEND_STARTING, address, "the Triton run here is starting", advice)
    if not backend.healthy:
        return Trouble(Missing.BACKEND_UNAVAILABLE, address, backend.seen, backend.advice)
    if model in backend.on_cpu_instead:
        seen = f"model {model} asks for a GPU and is served on the CPU"
        advice = "look at Triton's log for why, or take the GPU out of the model's configuration"
        return Trouble(Missing.GPU_UNUSED, address, seen, advice)
    if model in backend.models:
        # It is ready, and was found not to keep to its contract.
        seen = f"model {model} answers with something else than its configuration promises"
        return Trouble(Missing.MODEL_FAILED, address, seen, "look at the model; it is tried again within a second")
    state = backend.unready.get(model)
    if state is None:
        there = _listed(sorted({*backend.models, *backend.unready}))
        advice = f"add {model} to its repository, or name one of those that are there with --default-model"
        return Trouble(Missing.MODEL_MISSING, address, f"it has no model {model}; there: {there}", advice)
    if state in {"LOADING", "UNLOADING"}:
        advice = "it serves as soon as the model is loaded"
        return Trouble(Missing.MODEL_LOADING, address, f"model {model} is {state.lower()}", advice)
    others = _listed(sorted(backend.models))
    advice = f"mend the model and load it again, or name another with --default-model; ready: {others}"
    return Trouble(Missing.MODEL_FAILED, address, f"model {model} is not loaded: {state}", advice)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES]) or "none"
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES} more"
