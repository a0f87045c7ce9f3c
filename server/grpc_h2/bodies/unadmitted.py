# SPDX-License-Identifier: Apache-2.0
"""What is held of calls that are not admitted: bounded for the whole server, and who has to go where it is too much."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

_MOST_BYTES = 48 << 20
# Where one network holds more than all but this share and others hold something, one of its calls is refused.
_KEPT_SHARE = 0.125


class Holder(Protocol):
    """A call that is not admitted. `network` is whose it is; None: of a peer that stands for many."""

    network: str | None

    def refuse_call(self) -> None:
        """Be refused, and hold nothing any more."""
        ...


class Unadmitted:
    """The bytes that calls hold which have no permit: what came of them, and of their metadata what is unusual.

    Owns the sums, by call and by network; touched on the event loop only. Invariant: after each change they are
    `most_bytes` at the most together, for the calls that hold most (within a factor of two) have been refused until
    they were; where a network has more than seven eighths and is not alone, only its own.

    Args:
        most_bytes: The most of it all.
        much_is_free: Told where there was much of it and is little now.
    """

    def __init__(self, *, most_bytes: int = _MOST_BYTES, much_is_free: Callable[[], object] = lambda: None) -> None:
        self._much_is_free = much_is_free
        self._had_much = False
        self.total_bytes = 0
        self._most_bytes = most_bytes
        self._most_of_a_network = int(most_bytes * (1 - _KEPT_SHARE))
        self._held: dict[Holder, int] = {}
        # By the length of the number of bytes held, who has been there longest first.
        self._by_length: tuple[dict[Holder, None], ...] = tuple({} for _ in range(64))
        self._by_network: Counter[str | None] = Counter()
        self._crowding: str | None = None  # the network that holds too large a part, where there is one

    def holds(self, holder: Holder, byte_count: int) -> None:
        """Take note of what a call holds now, in all; it, or others, may be refused before this returns."""
        before = self._held.pop(holder, 0)
        if before:
            del self._by_length[before.bit_length()][holder]
        if byte_count:
            self._held[holder] = byte_count
            self._by_length[byte_count.bit_length()][holder] = None
        change = byte_count - before
        self.total_bytes += change
        self._count_network(holder.network, change)
        while self.total_bytes > self._most_bytes:
            self._largest().refuse_call()  # which leads here again, with nothing held
        if self.total_bytes > self._most_bytes // 4:
            self._had_much = True
        elif self._had_much and self.total_bytes < self._most_bytes // 16:
            self._had_much = False
            self._much_is_free()

    def _count_network(self, network: str | None, change: int) -> None:
        held = self._by_network[network] = self._by_network[network] + change
        if not held:
            del self._by_network[network]
        if network is not None:
            if held > self._most_of_a_network:
                self._crowding = network
            elif network == self._crowding:
                self._crowding = None

    def _largest(self) -> Holder:
        crowding = self._crowding if len(self._by_network) > 1 else None
        for holders in reversed(self._by_length):
            for holder in holders:
                if crowding is None or holder.network == crowding:
                    return holder
        raise RuntimeError("more is held than anybody holds")

    def __repr__(self) -> str:
        return f"<Unadmitted: {self.total_bytes} bytes of {len(self._held)} calls>"
