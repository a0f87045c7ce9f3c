# SPDX-License-Identifier: Apache-2.0
"""A call's messages put together from its body: only while somebody reads, each in one place."""

import asyncio
import functools
from collections.abc import Callable

import grpc

from grpc_h2.bodies.early_bytes import EarlyBytes
from grpc_h2.bodies.framing import PREFIX_BYTES
from grpc_h2.bodies.held_bytes import HeldBytes
from grpc_h2.bodies.messages import MessageFault, MessageRules, MessageTooLongError
from grpc_h2.bodies.unpacking import Unpack, Unpacked
from grpc_h2.buffers import Buffer
from grpc_h2.http2.wire.frames import DEFAULT_WINDOW_BYTES

# What the peer may send of the only message before its length is known, so that it need not wait for a WINDOW_UPDATE.
_AHEAD_BYTES = 1 << 20
# A message of which so much has come has begun: half of what may be sent before anybody reads it.
BEGUN_BYTES = 32 << 10


class Inbox:
    """The messages that come on a stream.

    Owns what has come and is not read yet, and whom to tell of the next one. Invariants: memory for a whole
    message is taken only once somebody expects it who holds a permit for so much; for whoever has none, and until
    somebody expects it, there is what has come and nothing more, and `held` counts it; while a message is
    expected the peer may send the whole of it; who expects one is told once. After `discard` nothing is kept.

    Args:
        rules: What a message may be.
        let_send: Lets the peer send at least so many bytes more.
        lend: Gives memory of so many bytes, which its views hold.
        lost: Told where the peer gave up, or is gone; for the stream, whose sink this is.
        held: Counts what is held without a permit.
        unpack: Begins to unpack a compressed message, and tells what is in it.
    """

    def __init__(
        self,
        *,
        rules: MessageRules,
        let_send: Callable[[int], None],
        lend: Callable[[int], memoryview],
        lost: Callable[[str], None],
        held: HeldBytes,
        unpack: Unpack,
    ) -> None:
        self._rules = rules
        # Whether nothing follows a message: then the peer may send ahead as soon as it is expected.
        self.one_message = False
        self._let_send = let_send
        self._lend = lend
        self.lost = lost
        self._held = held
        self._unpack = unpack
        self._early = EarlyBytes(lend)
        self._heard = False
        self._message: memoryview | None = None
        self._room: memoryview | None = None  # of the message, what is still missing
        self._compressed = False
        self._stop_unpacking: Callable[[], None] | None = None  # exactly while the message is being unpacked
        self._unpacked: bytearray | None = None
        self._tell: Callable[[], None] | None = None
        self._tell_begun: Callable[[], None] | None = None
        self._ended = self._closed = False
        self._fault: MessageFault | MessageTooLongError | None = None
        self._most_bytes: int | None = None

    def expect(self, most_bytes: int | None, tell: Callable[[], None]) -> None:
        """Have `tell` called once `take` has an answer; that may be at once.

        Args:
            most_bytes: The most that the reader holds a permit for, as it comes and uncompressed; None: it has none,
                and gets small messages only.
            tell: Called once.
        """
        if self._tell is not None:
            raise RuntimeError("A message of this call is being read already.")
        self._most_bytes = most_bytes
        self._heard = True
        self._held.permitted = most_bytes is not None
        self._held.read_bytes = 0
        if most_bytes is None:
            self._rules = self._rules.small()
        self._tell = tell
        if self._early:
            self._begin_early()
        if self._message is None and not self._ended:
            self._let_send(self._ahead_bytes())
        self._held.count(len(self._early))
        self._tell_if_there()

    @property
    def arrived_bytes(self) -> int:
        """What has come of the next message so far."""
        if self._message is None:
            return len(self._early)
        return len(self._message) - (0 if self._room is None else len(self._room))

    @property
    def announced_bytes(self) -> int:
        """The most that the next message may have, as its prefix says; every limit where that is not known."""
        early = self._early.view()
        if len(early) < PREFIX_BYTES:
            return 0 if self._ended else self._rules.max_bytes
        compressed, length = early[0], int.from_bytes(early[1:PREFIX_BYTES], "big")
        return self._rules.max_bytes if compressed else min(length, self._rules.max_bytes)

    @property
    def begun(self) -> bool:
        """Whether the next message has really begun to come: all of it is there, or much, or nothing more comes."""
        early = self._early.view()
        if self._ended or self._message is not None or len(early) >= BEGUN_BYTES:
            return True
        if len(early) < PREFIX_BYTES:
            return False
        length = int.from_bytes(early[1:PREFIX_BYTES], "big")
        return len(early) - PREFIX_BYTES >= length or length > self._rules.max_bytes

    def when_begun(self, tell: Callable[[], None]) -> None:
        """Have `tell` called once the next message has begun to come, or the call has ended; that may be at once."""
        self._tell_begun = tell
        if not self.begun:
            self._let_send(BEGUN_BYTES - len(self._early))
        self._tell_if_begun()

    def take(self) -> Buffer | None:
        """Return the message that was expected, or None after the last.

        Raises:
            MessageTooLongError: It has more than its reader is prepared for.
            MessageFault: The body cannot be understood.
        """
        if self._fault is not None:
            raise self._fault
        if self._message is None or self._room:
            if self._message is not None or self._early:
                raise MessageFault(grpc.StatusCode.INTERNAL, "The request ended in the middle of a message.")
            return None
        message: Buffer = self._message if self._unpacked is None else self._unpacked
        self._message = self._room = self._unpacked = None
        return message

    async def read(self, most_bytes: int | None = None) -> Buffer | None:
        """Wait for the next message and return it, as `take` does; for those who serve a call in a task."""
        there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.expect(most_bytes, functools.partial(resolve, there))
        try:
            await there
        finally:
            self._tell = None
        return self.take()

    # --- for the stream ---------------------------------------------------------------------

    def room(self) -> memoryview | None:
        """Return what is missing of the message that is expected."""
        return self._room or None

    def wrote(self, byte_count: int) -> None:
        if self._room is not None:
            self._room = self._room[byte_count:]
            self._tell_if_there()

    def feed(self, data: memoryview) -> None:
        if self._closed:
            if not self._heard:
                self._held.refused(len(data))
            return
        if self._room:
            size = min(len(data), len(self._room))
            self._room[:size] = data[:size]
            self._room = self._room[size:]
            data = data[size:]
        if data:
            if not self._early and len(data) >= PREFIX_BYTES and self._tell is not None and self._message is None:
                data = data[self._begin(data) :] if self._held.permitted else data  # in its place at once
            if data:
                self._early.add(data)
                if self._tell is not None:
                    self._begin_early()
                self._held.count(len(self._early))
                self._tell_if_begun()
        self._tell_if_there()

    def ended(self) -> None:
        self._ended = True
        self._tell_if_begun()
        self._tell_if_there()

    def discard(self, *, refused: bool = False) -> None:
        """Let go of all that has come, and take nothing more: the call has ended. Who reads is told that it has."""
        self._closed = self._ended = True
        if refused and self._early and not self._held.permitted:
            self._held.refused(len(self._early))
        self._early = EarlyBytes(self._lend)
        self._held.drop_request()
        self._message = self._room = self._unpacked = self._fault = None
        if self._stop_unpacking is not None:
            self._stop_unpacking()
            self._stop_unpacking = None
        self._let_send = _ignore
        self._tell_if_begun()
        self._tell_if_there()

    def forget_call(self) -> None:
        """Let go of the call, of which nothing more is to be told."""
        self.lost = _ignore
        self._held.forget_call()

    # --- inside -----------------------------------------------------------------------------

    def _ahead_bytes(self) -> int:
        """Return what the peer may send before the length is known."""
        if not self.one_message:
            # Half a window at a time: a WINDOW_UPDATE for each small message would cost more than it.
            return DEFAULT_WINDOW_BYTES // 2
        most_bytes = self._rules.max_bytes if self._most_bytes is None else self._most_bytes
        return min(_AHEAD_BYTES, PREFIX_BYTES + most_bytes) - len(self._early)

    def _tell_if_begun(self) -> None:
        tell = self._tell_begun
        if tell is not None and self.begun:
            self._tell_begun = None
            tell()

    def _tell_if_there(self) -> None:
        tell = self._tell
        if tell is None or self._stop_unpacking is not None:
            return
        whole = self._message is not None and not self._room
        if whole and self._compressed and self._unpacked is None and self._fault is None:
            self._begin_unpacking()
        elif whole or self._ended or self._fault is not None:
            self._tell = None
            tell()

    def _begin_unpacking(self) -> None:
        if self._message is not None:
            self._stop_unpacking = self._unpack(self._message, self._rules, self._most_bytes, self._note_unpacked)

    def _note_unpacked(self, unpacked: Unpacked | None) -> None:
        self._stop_unpacking = None
        if isinstance(unpacked, bytearray):
            self._unpacked = unpacked
        else:
            self._fault = unpacked
        self._tell_if_there()

    def _begin_early(self) -> None:
        """Begin the next message with what came before it was expected."""
        if self._message is None and self._fault is None and len(self._early) >= PREFIX_BYTES:
            begin = self._begin if self._held.permitted else self._begin_small
            self._early.drop(begin(self._early.view()))

    def _begin_small(self, early: memoryview) -> int:
        """Take a message for which there is no permit once all of it has come; return how much that took."""
        flag, length = early[0], int.from_bytes(early[1:PREFIX_BYTES], "big")
        self._fault = self._rules.problem_of(flag, length, None)
        end = PREFIX_BYTES + length
        if self._fault is not None:
            return 0
        if len(early) < end:
            self._let_send(end - len(early))
            return 0
        self._compressed = bool(flag)
        self._message = memoryview(bytes(early[PREFIX_BYTES:end]))
        self._held.read_bytes = length
        return end

    def _begin(self, data: memoryview) -> int:
        """Begin a message whose length is known, and let the rest of it come; return how much it took of the data."""
        flag, length = data[0], int.from_bytes(data[1:PREFIX_BYTES], "big")
        self._fault = self._rules.problem_of(flag, length, self._most_bytes)
        if self._fault is not None:
            return 0
        self._compressed = bool(flag)
        message = self._lend(length)
        there = min(length, len(data) - PREFIX_BYTES)
        message[:there] = data[PREFIX_BYTES : PREFIX_BYTES + there]
        self._message = message
        self._room = message[there:]
        if there < length:
            self._let_send(length - there)
        return PREFIX_BYTES + there


def _ignore(_what: object) -> None:
    """Stand for the peer, or the call, of a stream that has ended."""


def resolve(waited_for: asyncio.Future[None]) -> None:
    """Have whoever waits go on, if anybody still does."""
    if not waited_for.done():
        waited_for.set_result(None)
