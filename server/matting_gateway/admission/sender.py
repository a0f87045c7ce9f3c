# SPDX-License-Identifier: Apache-2.0
"""Whose message a permit is for, as admission has to know it."""

from typing import Protocol


class Sender(Protocol):
    """Who sends the message of a call."""

    @property
    def group(self) -> str | None:
        """Whose calls count together: the tenant, or the peer's network; None: a peer that stands for many."""
        ...

    @property
    def arrived_bytes(self) -> int:
        """What has come of the message so far."""
        ...
