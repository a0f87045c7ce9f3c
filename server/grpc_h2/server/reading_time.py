# SPDX-License-Identifier: Apache-2.0
"""How long a caller may take to read what is there for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadingTime:
    """Bounds, in seconds since there is something to be read.

    `without_deadline_s` is for callers who have set no deadline, `longest_s` for all.
    """

    without_deadline_s: float = 30.0
    longest_s: float = 120.0

    def until_s(self, now_s: float, deadline_s: float | None) -> float:
        """Return when it is over for a call with that deadline, if it has one."""
        own_s = now_s + self.without_deadline_s if deadline_s is None else deadline_s
        return min(own_s, now_s + self.longest_s)
