# SPDX-License-Identifier: Apache-2.0
"""What the peer may send: the connection's window, and those of streams, opened in steps (RFC 9113, 6.9)."""

from collections import deque
from collections.abc import Callable, Mapping

from grpc_h2.http2.stream import Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault

# As much of a body is let come at once, and more of it as soon as half of that is used up: some clients count all that
# a window lets out as memory of the connection, and give up (Node's have 10 MB).
_STEP_BYTES = 1 << 20
_LOW_BYTES = _STEP_BYTES // 2


class ReceiveWindows:
    """The windows of one connection that we give.

    Owns the connection's window, the first one of new streams, and the changes of that which the peer has not
    acknowledged; a stream's own is in the stream. Invariant: of a stream no more is let come at once than a step, but
    for the first window that it was opened with.

    Args:
        control: Sends a frame.
        streams: Those that are open, by number.
        connection_bytes: The connection's window.
        stream_bytes: The first window of each stream.
    """

    def __init__(
        self,
        control: Callable[[bytes], None],
        streams: Mapping[int, Stream],
        *,
        connection_bytes: int,
        stream_bytes: int,
    ) -> None:
        self._control = control
        self._streams = streams
        self._connection_bytes = self._receivable_bytes = connection_bytes
        self._usual_bytes = stream_bytes
        self.stream_bytes = stream_bytes  # of a new stream, as the peer knows it
        self._resizes: deque[int] = deque((stream_bytes,))

    def greeting(self) -> bytes:
        """Return the frame that opens the connection's window beyond what it begins with."""
        return frames.window_update(0, self._connection_bytes - frames.DEFAULT_WINDOW_BYTES)

    # --- for who is behind a stream ---------------------------------------------------------

    def let_send(self, stream: Stream, byte_count: int) -> None:
        """Let the peer send at least so many bytes more on a stream, step by step; then at least its first window.

        While it may send half of that it is told nothing yet: who reads many small messages would tell it each time.
        """
        stream.wanted_bytes = byte_count
        is_little = 2 * stream.receivable_bytes < min(byte_count, _STEP_BYTES)
        if is_little and not stream.closed and not stream.remote_ended:
            self._open(stream)

    def resize(self, byte_count: int) -> None:
        """Let each stream begin with such a window, as soon as the peer has taken note."""
        self._resizes.append(byte_count)
        self._control(frames.settings({frames.INITIAL_WINDOW_SIZE: byte_count}))

    def acknowledged(self) -> None:
        """Apply what the peer has taken note of to the streams that are open (6.9.2)."""
        if not self._resizes:
            return
        change = self._resizes[0] - self.stream_bytes
        self.stream_bytes = self._resizes.popleft()
        for stream in self._streams.values() if change else ():
            stream.receivable_bytes += change
            if stream.wanted_bytes > 0:
                self.let_send(stream, stream.wanted_bytes)

    def most_still_to_come(self, stream: Stream | None) -> int:
        """Return how many bytes may come on a stream until the peer hears of its end; None is one that never was."""
        receivable_bytes = self.stream_bytes if stream is None else stream.receivable_bytes
        return receivable_bytes + max(self._resizes, default=0)

    # --- for the way in ---------------------------------------------------------------------

    def count(self, byte_count: int) -> None:
        """Count DATA of the connection, and let as much come again.

        Raises:
            ConnectionFault: It is more than was allowed.
        """
        self._receivable_bytes -= byte_count
        if self._receivable_bytes < self._connection_bytes // 2:
            if self._receivable_bytes < 0:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows")
            more = self._connection_bytes - self._receivable_bytes
            self._receivable_bytes += more
            self._control(frames.window_update(0, more))

    def count_of(self, stream: Stream, byte_count: int, *, padding_bytes: int, ended: bool) -> None:
        """Count DATA of a stream.

        Padding counts, but is nothing that anybody reads, so it is given back at once (6.9.1).

        Raises:
            ConnectionFault: It is more than was allowed.
        """
        stream.receivable_bytes -= byte_count
        stream.wanted_bytes -= byte_count
        if stream.receivable_bytes < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        if ended:
            return
        if padding_bytes:
            stream.wanted_bytes += padding_bytes
            self._give(stream, padding_bytes)
        if stream.receivable_bytes < _LOW_BYTES and stream.receivable_bytes < stream.wanted_bytes:
            self._open(stream)

    def _open(self, stream: Stream) -> None:
        window_bytes = min(max(stream.wanted_bytes, self._usual_bytes), _STEP_BYTES)
        if window_bytes > stream.receivable_bytes:
            self._give(stream, window_bytes - stream.receivable_bytes)

    def _give(self, stream: Stream, byte_count: int) -> None:
        stream.receivable_bytes += byte_count
        self._control(frames.window_update(stream.id, byte_count))
