# SPDX-License-Identifier: Apache-2.0
"""How long `matting cutout` waits for a gateway that cannot serve now."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from matting_client.errors import (
    BackendUnavailableError,
    DrainingError,
    MattingError,
    OverloadedError,
    QuotaExceededError,
    ServerUnreachableError,
)
from matting_client.transport.retry import RetryPolicy, backoff_s

Made = TypeVar("Made")

# How long to wait for a gateway that served and is gone: as long as a restart takes.
GONE_S = 10.0
# Waits between tries, where the server does not say how long.
WAITS = RetryPolicy(initial_backoff_s=1.0, max_backoff_s=2.0)

_BUSY = (BackendUnavailableError, OverloadedError, QuotaExceededError)
_GONE = (ServerUnreachableError, DrainingError)


class Retrier:
    """Repeats a call while that can help: until the photo's time-out where the gateway loads its model or is busy, for
    GONE_S where it served before and is gone, and not at all where it never answered.

    Owns whether any answer came, and since when the gateway is gone. `on_wait` is called with the reason of the first
    wait, and again after an answer came in between.
    """

    def __init__(
        self,
        timeout_s: float,
        on_wait: Callable[[MattingError], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._timeout_s = timeout_s
        self._on_wait = on_wait
        self._clock = clock
        self._sleep = sleep
        self._answered = False
        self._gone_since_s: float | None = None
        self._told = False

    async def until_answered(self, ask: Callable[[float], Awaitable[Made]]) -> Made:
        """Return what `ask` does; it is given the seconds that are left.

        Raises:
            MattingError: The last failure.
        """
        until_s = self._clock() + self._timeout_s
        failed_count = 0
        while True:
            try:
                made = await ask(until_s - self._clock())
            except MattingError as error:
                failed_count += 1
                jitter = random.random()  # noqa: S311 - no secret
                wait_s = backoff_s(WAITS, failed_count, error.retry_after_s, jitter)
                if self._clock() + wait_s > min(until_s, self._ends_s(error)):
                    raise
                if not self._told:
                    self._told = True
                    self._on_wait(error)
            else:
                self._answered, self._told, self._gone_since_s = True, False, None
                return made
            await self._sleep(wait_s)

    def _ends_s(self, error: MattingError) -> float:
        """Return until when trying again is worth it, in seconds of the clock."""
        self._answered = self._answered or not isinstance(error, ServerUnreachableError)
        if not isinstance(error, _GONE):
            self._gone_since_s = None
            return math.inf if isinstance(error, _BUSY) else -math.inf
        if not self._answered:
            return -math.inf
        if self._gone_since_s is None:
            self._gone_since_s = self._clock()
        return self._gone_since_s + GONE_S
