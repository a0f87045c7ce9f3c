# SPDX-License-Identifier: Apache-2.0
"""Which calls are traced."""

import random
from collections.abc import Callable

from matting_gateway.clock import Clock
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
        self._asked_per_s = settings.asked_per_s
        self._now = clock.now
        self._on_end = on_end
        self._chance = chance
        self._left = self._most = max(1.0, settings.asked_per_s)
        self._refilled_s = clock.now()

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
        if context is not None and may_ask and self._asked_per_s > 0:
            chosen = context.sampled and (chosen or self._may_be_asked())
        return Trace(self._on_end, context) if chosen else None

    def _may_be_asked(self) -> bool:
        now_s = self._now()
        self._left = min(self._most, self._left + (now_s - self._refilled_s) * self._asked_per_s)
        self._refilled_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
