# SPDX-License-Identifier: Apache-2.0
"""Has a Triton overwrite what it keeps of the last batches: its pool of tensors, its engine, its connection.

Triton keeps the memory that it takes tensors from, and what lay in it, until later tensors are put
there. A request of zeros as large as a request can be, with the parameter `matting_control: scrub`,
leaves zeros instead; our own backend overwrites its last answers for it and runs no model, any
other runs it once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import GatewayError
from matting_gateway.triton.discovery.control import SCRUB, control_request

REST_S = 0.35
_TIMEOUT_S = 5.0
# As many batches as may be on their way to an instance at once, so that their places are covered too.
_BATCHES_PER_INSTANCE = 2


class Scrubber:
    """Scrubs each model of one backend when nobody has used it for a while.

    Owns a timer for each model used since it was last scrubbed, the batches in flight by model, and
    the tasks of scrubs under way; touched on the event loop only. Invariant: after a model's last
    batch has ended one scrub of it begins after `rest_s`, and none while a batch of it is in flight.

    Args:
        send: Sends one request and waits for its end; takes the message and a time-out in seconds.
        contract: What a model takes, or None for one that is gone.
        rest_s: How long a model must rest.
    """

    def __init__(
        self,
        send: Callable[[bytes, float], Awaitable[object]],
        contract: Callable[[str], ModelContract | None],
        *,
        rest_s: float = REST_S,
    ) -> None:
        self._send = send
        self._contract = contract
        self._rest_s = rest_s
        self._in_flight: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.scrub_count = 0

    @contextmanager
    def using(self, model: str) -> Iterator[None]:
        """Count a batch of the model as in flight within the block."""
        self._in_flight[model] = self._in_flight.get(model, 0) + 1
        try:
            yield
        finally:
            self._in_flight[model] -= 1
            if not self._in_flight[model]:
                del self._in_flight[model]
                self.used(model)

    def used(self, model: str) -> None:
        """Note that the model was used until now."""
        timer = self._timers.pop(model, None)
        if timer is not None:
            timer.cancel()
        self._timers[model] = asyncio.get_running_loop().call_later(self._rest_s, self._rested, model)

    async def scrub(self, contract: ModelContract) -> None:
        """Have one model overwrite what it keeps, now."""
        # One batch fewer rows as well: a pool that holds batches of one size only in part overlaps what it held before.
        requests = [scrub_request(contract), scrub_request(contract, fewer_rows=1)]
        instance_count = sum(instances.instance_count for instances in contract.instances) or 1
        for request in requests:
            if request is None:
                continue
            calls = (self._send(request, _TIMEOUT_S) for _ in range(_BATCHES_PER_INSTANCE * instance_count))
            for result in await asyncio.gather(*calls, return_exceptions=True):
                # A backend that is away or refuses keeps nothing for us.
                if isinstance(result, BaseException) and not isinstance(result, GatewayError):
                    raise result

    async def close(self) -> None:
        """Give up what is planned and under way."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Scrubber {self.scrub_count} scrubs, {len(self._timers)} planned, {len(self._tasks)} under way>"

    def _rested(self, model: str) -> None:
        del self._timers[model]
        contract = self._contract(model)
        if model in self._in_flight or contract is None:
            return
        self.scrub_count += 1
        task = asyncio.create_task(self.scrub(contract))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def scrub_request(contract: ModelContract, *, fewer_rows: int = 0) -> bytes | None:
    """Return the request that overwrites what was a model's, or None for a model that cannot be sent it."""
    if fewer_rows and contract.max_batch_size <= fewer_rows:
        return None
    request = control_request(contract, SCRUB, row_count=contract.max_batch_size - fewer_rows)
    return None if request is None else bytes(request.SerializeToString())
