# SPDX-License-Identifier: Apache-2.0
"""A permit is the right to hold so many bytes: no body is read without one, and releasing it frees the bytes."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from matting_gateway.admission.sender import Sender
from matting_gateway.domain.job import Priority


class Ledger(Protocol):
    """Who keeps the sums over all permits: the gate. For permits only."""

    def shrink(self, permit: "Permit", byte_count: int) -> None: ...

    async def settle(self, permit: "Permit", byte_count: int, deadline_s: float, priority: Priority) -> None: ...

    def learn(self, permit: "Permit") -> None: ...

    def release(self, permit: "Permit") -> None: ...

    def awaiting(self, permit: "Permit", message_bytes: int, give_way: Callable[[], None]) -> "Awaiting": ...

    def unread(self, permit: "Permit", taken_bytes: Callable[[], int], give_way: Callable[[], None]) -> "Awaiting": ...


class Awaiting:
    """The time in which a permit is held for its caller to send a message, or read an answer, until it is ended."""

    __slots__ = ("end",)

    def __init__(self, end: Callable[[], object]) -> None:
        self.end = end

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        self.end()


class Permit:
    """The right to hold so many bytes; releasing twice is harmless."""

    __slots__ = ("_gate", "acquired_s", "answered", "asked_bytes", "byte_count", "promised", "sender")

    def __init__(
        self,
        gate: "Ledger | None",
        byte_count: int,
        *,
        promised: bool,
        acquired_s: float,
        sender: Sender | None = None,
    ) -> None:
        self._gate = gate
        self.sender = sender
        self.byte_count = self.asked_bytes = byte_count
        self.promised = promised
        self.acquired_s = acquired_s
        self.answered = False

    def shrink(self, byte_count: int) -> None:
        """Give back what is over `byte_count`; asking for more than is held changes nothing.

        From the first shrink on the size is known, and counts as promised.
        """
        if self._gate is not None:
            self._gate.shrink(self, byte_count)

    def awaiting(self, message_bytes: int, give_way: Callable[[], None]) -> Awaiting:
        """Hold on, until what is returned is ended, for a message of at most so many bytes.

        `give_way` is called if it does not come in good time and others wait for the memory; the
        permit must then be released soon.

        Raises:
            RuntimeError: The permit has been released.
        """
        if self._gate is None:
            raise RuntimeError("nothing is held for a message any more")
        return self._gate.awaiting(self, message_bytes, give_way)

    def unread(self, taken_bytes: Callable[[], int], give_way: Callable[[], None]) -> Awaiting:
        """Hold on, until what is returned is ended, to an answer that is there and not read.

        Args:
            taken_bytes: Tells how much the caller has taken of it.
            give_way: Called if that is too little and others wait for the memory; must lead to the permit's release.

        Raises:
            RuntimeError: The permit has been released.
        """
        if self._gate is None:
            raise RuntimeError("nothing is held for an answer any more")
        return self._gate.unread(self, taken_bytes, give_way)

    async def settle(self, byte_count: int, *, deadline_s: float, priority: Priority = Priority.NORMAL) -> None:
        """Hold just what is needed, now that it is known.

        A call that promised nothing waits for what it needs beside its message. One that needs more
        than it promised (many large results), or more than anybody is sure to get, gets that if it is free now.

        Args:
            byte_count: What is needed, the message included.
            deadline_s: When it is too late, in seconds of the clock.
            priority: Before the deadline, what orders those who wait.

        Raises:
            OverloadedError: More is needed, and is not free; or too many wait already.
            DeadlineExpiredError: The deadline came first.
        """
        if self._gate is not None:
            await self._gate.settle(self, byte_count, deadline_s, priority)

    def succeeded(self) -> None:
        """Tell that the call was answered: the gate learns how long one of its size takes."""
        self.answered = True
        if self._gate is not None:
            self._gate.learn(self)

    def hand_over(self, byte_count: int) -> "Permit":
        """Return another permit for what goes on being held; this one is released.

        For an answer on its way: the photo is gone, but the result is in memory until it is sent.
        """
        rest = Permit(None, min(byte_count, self.byte_count), promised=True, acquired_s=self.acquired_s)
        rest.answered = self.answered
        if self._gate is not None:
            self._gate.shrink(self, rest.byte_count)
            rest._gate, self._gate = self._gate, None
        return rest

    def release(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.release(self)

    @property
    def released(self) -> bool:
        return self._gate is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "released" if self.released else f"{self.byte_count} bytes"
        return f"<Permit {state}>"
