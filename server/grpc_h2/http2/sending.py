# SPDX-License-Identifier: Apache-2.0
"""What goes out: frames cut to what the peer takes, in the windows it gives, in turn where they are short."""

from collections.abc import Callable, Sequence

from grpc_h2.buffers import Buffer
from grpc_h2.http2.stream import Message, Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault

# What one stream may send before the next has its turn, where several wait.
_TURN_BYTES = 64 << 10
# What is handed to the transport before it is asked whether it can take more.
_BURST_BYTES = 1 << 20
_MAX_UNREAD_BYTES = 64 << 10
# The table that we refer to has no bytes (RFC 7541, 6.3).
_NO_TABLE = b"\x20"


class Sending:
    """The way out of one connection.

    Owns the peer's windows and limits, and who waits for them. Touched on the event loop only.
    Invariants: no DATA frame is larger than the peer's windows or frames; a stream with something
    unsent waits in `_waiting`; while the transport is paused only control frames go, and
    `check_read` bounds them; a peer whose table of headers is smaller than usual hears first that we use none.

    Args:
        write: Takes buffers to be sent, in order.
        soon: Has something done in the loop's next turn.
        on_all_sent: Told of a stream whose last frame has gone.
    """

    def __init__(
        self,
        *,
        write: Callable[[Sequence[Buffer]], None],
        soon: Callable[[Callable[[], None]], object],
        on_all_sent: Callable[[Stream], None],
    ) -> None:
        self._write = write
        self._soon = soon
        self._on_all_sent = on_all_sent
        self.stream_window_bytes = frames.DEFAULT_WINDOW_BYTES
        self.max_frame_bytes = frames.DEFAULT_FRAME_BYTES
        self._window_bytes = frames.DEFAULT_WINDOW_BYTES
        self._waiting: dict[Stream, None] = {}
        self._paused = False
        self.unread_bytes = 0  # of control frames, since the transport paused
        self._table_untold = False
        self._out: list[Buffer] = []
        self._scheduled = False

    # --- gathering: all that one turn of the loop leads to leaves with one system call ------

    def flush(self) -> None:
        """Write what has been gathered, now."""
        self._scheduled = False
        if self._out:
            out, self._out = self._out, []
            self._write(out)

    def _flush_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._soon(self.flush)

    # --- what is sent -----------------------------------------------------------------------

    def control(self, frame: bytes) -> None:
        """Send a frame that no window bounds."""
        if self._paused:
            self.unread_bytes += len(frame)
        self._out.append(frame)
        self._flush_soon()

    def check_read(self) -> None:
        """Look whether the peer, who sends, also reads.

        Raises:
            ConnectionFault: It does not, and too many control frames wait for it.
        """
        if self.unread_bytes > _MAX_UNREAD_BYTES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "answers to control frames are not read")

    def headers(self, stream: Stream, block: bytes, *, last: bool = False) -> None:
        """Queue a header block; `pump` sends it."""
        flags = frames.END_STREAM if last else 0
        if len(block) + len(_NO_TABLE) <= self.max_frame_bytes:
            stream.unsent.append(frames.frame(frames.HEADERS, flags | frames.END_HEADERS, stream.id, block))
        else:
            stream.unsent.append(self._in_parts(stream.id, flags, block))
        stream.all_sent = last

    def _in_parts(self, stream_id: int, flags: int, block: bytes) -> bytes:
        size = self.max_frame_bytes - len(_NO_TABLE)
        parts = [block[at : at + size] for at in range(0, len(block), size)]
        kinds = [frames.HEADERS, *[frames.CONTINUATION] * (len(parts) - 1)]
        all_flags = [flags, *[0] * (len(parts) - 1)]
        all_flags[-1] |= frames.END_HEADERS
        return b"".join(
            frames.frame(kind, own, stream_id, part) for kind, own, part in zip(kinds, all_flags, parts, strict=True)
        )

    def shrink_table(self) -> None:
        """Say, at the beginning of the next block that is sent, that we use no table of headers (RFC 9113, 4.3.1)."""
        self._table_untold = True

    def block(self, frame: bytes) -> None:
        """Send a frame of headers that belongs to no open stream, now."""
        self.control(self._telling(frame) if self._table_untold else frame)

    def _telling(self, part: bytes) -> bytes:
        length_bytes, kind, flags, stream_id = frames.read_header(part, 0)
        if kind != frames.HEADERS:
            return part
        self._table_untold = False
        head = frames.head(kind, flags, stream_id, length_bytes + len(_NO_TABLE))
        return head + _NO_TABLE + part[frames.HEADER_BYTES :]

    def body(self, stream: Stream, prefix: bytes, data: Buffer) -> None:
        """Queue a piece of the body; `pump` sends it as windows allow."""
        stream.unsent.append(Message(prefix, memoryview(data)))

    def pump(self, stream: Stream) -> None:
        """Send what may be sent of a stream now; the rest follows by itself."""
        self._waiting[stream] = None
        while not self._paused:
            before = stream.sendable_bytes
            if self._send_some(stream, _BURST_BYTES):
                self._waiting.pop(stream, None)
                break
            if stream.sendable_bytes == before:
                break
            self.flush()  # tells whether the transport can take more
        self.flush()  # now: its caller can go on while others of its batch are still being answered

    def _send_some(self, stream: Stream, most_bytes: int) -> bool:
        """Send at most about so many bytes; tell whether nothing is left unsent."""
        unsent, out = stream.unsent, self._out
        while unsent:
            part = unsent[0]
            if isinstance(part, Message):
                left = len(part)
                while left:
                    size = min(left, self.max_frame_bytes, stream.sendable_bytes, self._window_bytes, most_bytes)
                    if size <= 0:
                        return False
                    out.append(frames.head(frames.DATA, 0, stream.id, size))
                    out.extend(part.take(size))
                    left -= size
                    most_bytes -= size
                    stream.sendable_bytes -= size
                    self._window_bytes -= size
                unsent.popleft()
                continue
            unsent.popleft()
            if isinstance(part, bytes):
                out.append(self._telling(part) if self._table_untold else part)
            else:
                part()
        if stream.all_sent:
            self._on_all_sent(stream)
        return True

    # --- what the peer allows ---------------------------------------------------------------

    def allow(self, byte_count: int) -> None:
        """Count a WINDOW_UPDATE of the connection.

        Raises:
            ConnectionFault: The window would be larger than windows may be.
        """
        was_shut = self._window_bytes <= 0
        self._window_bytes += byte_count
        if self._window_bytes > frames.MAX_WINDOW_BYTES:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window is too large")
        if was_shut:  # or else nobody waits for it
            self._pump_waiting()

    def allow_stream(self, stream: Stream, byte_count: int) -> bool:
        """Count a WINDOW_UPDATE of a stream; tell whether the window is one that may be."""
        stream.sendable_bytes += byte_count
        if stream.sendable_bytes > frames.MAX_WINDOW_BYTES:
            return False
        if stream in self._waiting:
            self.pump(stream)
        return True

    def resize_windows(self, window_bytes: int, streams: Sequence[Stream]) -> None:
        """Apply another INITIAL_WINDOW_SIZE to streams that are open (RFC 9113, 6.9.2)."""
        change = window_bytes - self.stream_window_bytes
        self.stream_window_bytes = window_bytes
        for stream in streams:
            stream.sendable_bytes += change
            if stream.sendable_bytes > frames.MAX_WINDOW_BYTES:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a stream's window is too large")
        self._pump_waiting()

    def pause(self) -> None:
        """Stop: the peer reads too slowly."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.unread_bytes = 0
        self._pump_waiting()

    def forget(self, stream: Stream) -> None:
        """Send nothing more of a stream that was reset."""
        self._waiting.pop(stream, None)
        stream.unsent.clear()

    def _pump_waiting(self) -> None:
        """Let those that wait send in turn, who waited longest first, for as long as one of them gets on."""
        stuck_count = 0
        while stuck_count < len(self._waiting) and not self._paused:
            stream = next(iter(self._waiting))
            before = stream.sendable_bytes
            all_sent = self._send_some(stream, _TURN_BYTES)
            moved = all_sent or stream.sendable_bytes != before
            if moved:
                self.flush()  # tells whether the transport can take more
            stuck_count = 0 if moved else stuck_count + 1
            self._waiting.pop(stream, None)
            if not all_sent:
                self._waiting[stream] = None
