# SPDX-License-Identifier: Apache-2.0
"""What one call holds for which there is no permit."""

from collections.abc import Callable

from grpc_h2.bodies.messages import MessageFault, too_early
from grpc_h2.bodies.windows import Windows


class HeldBytes:
    """Counts it, and tells `windows`, which bound what all calls hold together.

    Owns the sum. Invariant: `windows` know it after each change. A `permitted` call holds its head and its answer by
    its permit.

    Args:
        windows: Told of each change; have the call refused where too much is held and it holds most.
        network: Whose the call is, where that matters.
        head_bytes: What is held of the call beside its body.
        refuse: Told where the call has to end, as it holds too much.
    """

    def __init__(
        self, windows: Windows, network: str | None, head_bytes: int, refuse: Callable[[MessageFault], None]
    ) -> None:
        self._windows = windows
        self._refuse = refuse
        self.network = network
        self._head_bytes = head_bytes
        self._early_bytes = self._answer_bytes = self._held_bytes = 0
        self.read_bytes = 0  # of the last message that was read without a permit: who reads it still has it
        self.permitted = False

    def count_head(self) -> None:
        """Begin to count the call's head: the call may be refused for it."""
        self.count(self._early_bytes)

    def count(self, early_bytes: int) -> None:
        """Count so many bytes that have come and nobody reads yet, and what else is held."""
        self._early_bytes = early_bytes
        held_bytes = early_bytes + self.read_bytes + self._answer_bytes + (0 if self.permitted else self._head_bytes)
        if held_bytes != self._held_bytes:
            self._held_bytes = held_bytes
            self._windows.holds(self, held_bytes)

    def answer_waits(self, byte_count: int) -> None:
        """Count what the caller does not read of an answer that no permit counts."""
        if not self.permitted and byte_count != self._answer_bytes:
            self._answer_bytes = byte_count
            self.count(self._early_bytes)

    def drop_request(self) -> None:
        """Count nothing more of the request: the call has ended."""
        self.read_bytes = self._head_bytes = 0
        self.count(0)

    def refused(self, byte_count: int) -> None:
        """Tell of bytes that came of the call after it was refused, or before, and nobody has read."""
        self._windows.refused(byte_count)

    def refuse_call(self) -> None:
        """Have the call refused: of all that is held without a permit too much is its."""
        self._refuse(too_early(self._held_bytes))

    def forget_call(self) -> None:
        """Let go of the call, of which nothing more is to be told."""
        self._refuse = _ignore


def _ignore(_fault: MessageFault) -> None:
    """Stand for a call that has ended."""
