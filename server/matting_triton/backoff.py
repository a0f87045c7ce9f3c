# SPDX-License-Identifier: Apache-2.0
"""How long to wait before something that died is started again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next start.

    Attributes:
        initial_s: After the first death.
        factor: By how much the wait grows with each further death.
        max_s: It grows no further than this.
        reset_s: A Triton that was ready for so long counts as healthy: the wait begins anew.
    """

    initial_s: float = 0.2
    factor: float = 2.0
    max_s: float = 15.0
    reset_s: float = 60.0

    def delay_s(self, deaths: int) -> float:
        """Return the wait after that many deaths in a row (1 or more)."""
        # The exponent is bounded so that a Triton that dies for a week does not overflow a float.
        return min(self.max_s, self.initial_s * self.factor ** min(deaths - 1, 64))
