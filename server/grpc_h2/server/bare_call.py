# SPDX-License-Identifier: Apache-2.0
"""One call on its stream, for whoever serves it."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from grpc_h2.bodies.framing import body_of
from grpc_h2.bodies.held_bytes import HeldBytes
from grpc_h2.bodies.inbox import Inbox
from grpc_h2.bodies.messages import MessageFault, MessageRules
from grpc_h2.bodies.unpacking import Unpack
from grpc_h2.bodies.windows import Windows
from grpc_h2.buffers import Buffer
from grpc_h2.http2.server_connection import ServerConnection
from grpc_h2.http2.stream import Body, Message, Stream
from grpc_h2.http2.wire.frames import CANCEL
from grpc_h2.server.facts import CallFacts
from grpc_h2.server.metadata import CallHead, status_block, trailers_only_block
from grpc_h2.server.peer import Peer
from grpc_h2.server.reading_time import ReadingTime

# A head of this size is part of the 8 KiB of state that any stream may have; what is larger counts as held.
USUAL_HEAD_BYTES = 2 << 10


@dataclass(frozen=True, slots=True)
class CallResources:
    """What the calls of one server share.

    `max_small_bytes` is the most that a message may have whose reader names no limit of its own; `lend` gives memory
    for messages; `report` returns what goes with every status, as a part of a header block.
    """

    max_message_bytes: int
    max_small_bytes: int
    reading: ReadingTime
    lend: Callable[[int], memoryview]
    windows: Windows
    unpack: Unpack
    report: Callable[[], bytes]


class BareCall(CallFacts):
    """One call on its stream.

    Owns the call's state; touched on the event loop only. Invariants: the status is sent at most
    once; callbacks are called once, when the last of the answer has been written or the caller is
    gone, and whoever serves the call has let go of it. Once the call has ended nothing of its request is kept.
    A caller who does not read what is there for it is gone once its time is over.
    """

    def __init__(
        self,
        connection: ServerConnection,
        stream: Stream,
        head: CallHead,
        peer: Peer,
        resources: CallResources,
    ) -> None:
        super().__init__(head, peer)
        self._resources = resources
        self._connection = connection
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        head_bytes = max(0, head.byte_count - USUAL_HEAD_BYTES)
        self._held = HeldBytes(resources.windows, peer.network, head_bytes, self._sent_too_much)
        self.inbox = Inbox(
            rules=MessageRules(resources.max_message_bytes, head.encoding, resources.max_small_bytes),
            let_send=functools.partial(connection.let_send, stream),
            lend=resources.lend,
            lost=self.lost,
            held=self._held,
            unpack=resources.unpack,
        )
        self._given_bytes = 0  # of answers, since the first that was not written at once
        self._stop: Callable[[], object] | None = None
        self._headers_sent = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._stream!r}{' ended' if self._ended else ''}>"

    # --- what comes on the stream: all but this is for its inbox ------------------------------

    def lost(self, text: str) -> None:
        """End the call: the caller is gone, or does not read what is there for it."""
        self._ended = self._lost = True
        self.inbox.discard()
        self._written()
        self._stop_serving()

    # --- for who serves the call ------------------------------------------------------------

    def begin_without_task(self, stop: Callable[[], object]) -> None:
        """Be served by what happens to the call: its one message, its end.

        Args:
            stop: Called at most once, where the caller gives up or its time is over. Who serves the call then, or
                once it has answered, says that it has let go of it (`let_go`).
        """
        self.inbox.one_message = True
        self._served_by(stop)

    def _served_by(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        if self._deadline_s is not None:
            self._timer = self._loop.call_at(self._deadline_s, self._expire)

    def hold_head(self) -> None:
        """Count what is held of the call's head, which is unusually large: the call may be refused for it."""
        self._held.count_head()

    def let_go(self) -> None:
        """Tell that nobody serves the call any more."""
        self._stop = None
        self._served = True
        self._tell_if_done()

    def _expire(self) -> None:
        self.refuse(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if self._gone:
            self._stop_serving()
        else:  # the caller does not read; a status would wait behind the answer
            self.cut_off()

    def _sent_too_much(self, fault: MessageFault) -> None:
        """End a call that cannot go on and whose handler does not look."""
        if self._ended:
            self.cut_off()
        else:
            self.refuse(fault.code, fault.text)
            self._stop_serving()

    def cut_off(self) -> None:
        """End a call whose caller does not read what is there for it; without effect once all has been written."""
        if not self._gone:
            self._connection.reset(self._stream, CANCEL)
            self.lost("the answer was not read in time")

    @property
    def taken_bytes(self) -> int:
        """What the caller has taken of the answers that it did not take at once."""
        return self._given_bytes - sum(len(part) for part in self._stream.unsent if isinstance(part, Message))

    def _begin_reading(self, body: Body) -> asyncio.TimerHandle:
        """Give the caller bounded time to take what is there for it."""
        given_bytes = sum(len(prefix) + len(data) for prefix, data in body)
        self._given_bytes += given_bytes
        self._held.answer_waits(given_bytes)
        return self._loop.call_at(self._resources.reading.until_s(self._loop.time(), self._deadline_s), self.cut_off)

    def _stop_serving(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def refuse(self, code: grpc.StatusCode, details: str) -> None:
        """Send a status without an answer. Once only."""
        if not self._ended:
            self._code = code
            self._end((), details)

    def answer(self, pieces: Sequence[Buffer], *, borrowed: bool) -> None:
        """Send the one message, and that all went well; `borrowed` pieces are in memory that is wanted elsewhere."""
        if not self._ended:
            self._end(body_of(pieces), borrowed=borrowed)

    def _end(self, body: Body, details: str = "", *, borrowed: bool = False) -> None:
        self._ended = True
        code: int = self._code.value[0]
        self.inbox.discard(refused=bool(code))
        if code and not body and not self._headers_sent:
            headers = b""
            trailers = trailers_only_block(code, details, initial=self._initial, trailing=self._trailing)
        else:
            headers = self._unsent_headers()
            trailers = status_block(code, details) + self._trailing_block
        self._connection.send(
            self._stream,
            headers=headers,
            body=body,
            trailers=trailers + self._resources.report(),
            on_sent=self._written,
            borrowed=borrowed,
        )
        if not self._gone:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._begin_reading(body)

    def _unsent_headers(self) -> bytes:
        headers = b"" if self._headers_sent else self._initial_block
        self._headers_sent = True
        return headers

    def _written(self) -> None:
        self._gone = True
        self._held.answer_waits(0)
        self.inbox.forget_call()  # breaks the cycle of references between the two
        if self._timer is not None:
            self._timer.cancel()
        self._tell_if_done()

    @property
    def arrived_bytes(self) -> int:
        """What has come of the next message so far."""
        return self.inbox.arrived_bytes

    @property
    def announced_bytes(self) -> int:
        """The most that the next message may have, as its prefix says; every limit where that is not known."""
        return self.inbox.announced_bytes

    @property
    def begun(self) -> bool:
        """Whether the next message has really begun to come, or nothing more comes."""
        return self.inbox.begun

    def when_begun(self, tell: Callable[[], None]) -> None:
        """Have `tell` called once the next message has really begun to come, or the call has ended: maybe at once."""
        self.inbox.when_begun(tell)

    def expect(self, most_bytes: int, tell: Callable[[], None]) -> None:
        """Have `tell` called once `received` has the message, at most so long, or says what is wrong: maybe at once."""
        self.inbox.expect(most_bytes, tell)

    def received(self) -> Buffer | None:
        """Return the message that was expected, as it came; None where there is none.

        Raises:
            MessageTooLongError: It has more bytes than was said.
            MessageFault: The body cannot be understood; the call has been ended.
        """
        try:
            message = self.inbox.take()
        except MessageFault as fault:
            self.refuse(fault.code, fault.text)
            raise
        if message is not None:
            self._resources.windows.message_came(self._connection, len(message))
        return message
