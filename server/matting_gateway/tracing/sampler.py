# SPDX-License-Identifier: Apache-2.0
"""Which calls are traced."""

import random
from collections.abc import Callable

from matting_gateway.clock import Clock
from matting_gateway.token_bucket import Rate, full, take
from matting_gateway.traces import Trace, caller_context
from matting_gateway.tracing.settings import TracingSettings


class Sampler:
    """Has a share of the calls traced, and those that callers ask for, up to so many a second.

    A caller who says that its call is not sampled is heard too. By which trace id a call comes has no part in it:
    a stranger could choose ids that always are. Owns what is left of what callers may ask for. Invariant: beyond the
    share no more than `asked_per_s` calls a second are traced, after a rest a second's worth at once.

    Args:
        settings: The share, and how many may ask.
        clock: Says when.
        on_end: Is given each trace once it has ended.
        chance: Returns a number of 0 to 1, each as likely as any other.
    """

    def __init__(
        self,
        settings: TracingSettings,
        *,
        clock: Clock,
        on_end: Callable[[Trace], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ratio = settings.sample_ratio
        self._rate = Rate(settings.asked_per_s, max(1.0, settings.asked_per_s))
        self._now = clock.now
        self._on_end = on_end
        self._chance = chance
        self._left = full(self._rate, clock.now())

    def __repr__(self) -> str:
        return f"<Sampler of {self._ratio:g} of the calls>"

    def begin(self, header: str | bytes | None, *, may_ask: bool) -> Trace | None:
        """Return the trace of a call that begins, or None where it has none.

        Args:
            header: The caller's `traceparent`, as it came.
            may_ask: Whether it counts that the caller asks, as it does of those who were let in.
        """
        chosen = self._chance() < self._ratio
        context = caller_context(header) if header is not None else None
        if context is not None and may_ask and self._rate.per_s > 0:
            chosen = context.sampled and (chosen or self._may_be_asked())
        return Trace(self._on_end, context) if chosen else None

    def _may_be_asked(self) -> bool:
        self._left, wait_s = take(self._rate, self._left, self._now(), 1.0)
        return wait_s == 0
