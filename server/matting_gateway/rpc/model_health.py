# SPDX-License-Identifier: Apache-2.0
"""What health says of each model, from what the backends say of it."""

from matting_gateway.rpc.doors import Doors
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.triton.pool import Pool


class ModelHealth:
    """Writes the health of the default model, as which the gateway itself counts, and of every model.

    A model that asks for a GPU and is served on a CPU is not well, though it answers: it would only be noticed by
    the bill. Owns the memory of which of them were logged.
    """

    def __init__(self, pool: Pool, doors: Doors, logs: Logs, *, default_model: str) -> None:
        self._pool = pool
        self._doors = doors
        self._logs = logs
        self._default_model = default_model
        self._misplaced: frozenset[str] = frozenset()

    def tell(self, *, serving: bool) -> None:
        """Look at the backends and tell; nothing is well unless the gateway is `serving`."""
        misplaced = self._pool.on_cpu_instead()
        for model in sorted(misplaced.keys() - self._misplaced):
            detail = "the configuration asks for a GPU, and the model is served on the CPU"
            self._logs.event(Event.GPU_UNUSED, model=model, backend=misplaced[model], detail=detail)
        self._misplaced = frozenset(misplaced)

        def is_well(model: str) -> bool:
            return serving and self._pool.can_serve(model) and model not in misplaced

        models = {contract.name: is_well(contract.name) for contract in self._pool.models()}
        self._doors.health.update(serving=is_well(self._default_model), models=models)
