# SPDX-License-Identifier: Apache-2.0
"""The streams of one connection, and what client and server do alike with them. No I/O and no clock of its own."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence

from matting_gateway.domain import Buffer
from matting_gateway.http2 import frames
from matting_gateway.http2.control_frames import ControlFrames
from matting_gateway.http2.errors import ConnectionFault
from matting_gateway.http2.header_blocks import HeaderBlockReader
from matting_gateway.http2.limits import Http2Limits
from matting_gateway.http2.nuisance import Patience
from matting_gateway.http2.receiving import Receiving
from matting_gateway.http2.sending import Sending
from matting_gateway.http2.stream import Stream


class Streams(ABC):
    """The part of a connection that does not depend on who began it.

    Owns the streams, and the state of both directions. Touched on the event loop only. Invariants:
    of a stream's end its sink hears exactly once, by `Sink.lost` or by what ends it in order; a
    connection that is closing opens no stream.

    Args:
        limits: What the connection may cost.
        preface: What the peer has to begin with.
        write: Takes buffers to be sent, in order.
        soon: Has something done in the loop's next turn.
        now: Tells the time, in seconds.
    """

    def __init__(
        self,
        limits: Http2Limits,
        *,
        preface: bytes,
        write: Callable[[Sequence[Buffer]], None],
        soon: Callable[[Callable[[], None]], object],
        now: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._streams: dict[int, Stream] = {}
        self._closing = False
        self._patience = Patience(burst=limits.nuisance_burst, per_s=limits.nuisance_per_s, now=now)
        block_bytes = 2 * limits.max_header_bytes
        self._headers = HeaderBlockReader(block_bytes)
        self._sending = Sending(write=write, soon=soon, on_all_sent=self._all_sent)
        self._receivable_bytes = frames.MAX_WINDOW_BYTES
        # Of a new stream, as the peer knows it, and the changes that it has not acknowledged yet.
        self._window_bytes = limits.window_bytes
        self._resizes: deque[int] = deque((limits.window_bytes,))
        self.receiving = Receiving(
            self, max_frame_bytes=limits.max_frame_bytes, max_block_bytes=block_bytes, preface=preface
        )
        self._control = ControlFrames(self._sending, self._patience, streams=self._streams, events=self)

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._streams)} streams>"

    # --- the connection's own life ----------------------------------------------------------

    @abstractmethod
    def greet(self) -> None:
        """Send our settings, and open the connection's window: streams have windows of their own."""

    @abstractmethod
    def shut(self) -> None:
        """Take no new streams, and tell the peer."""

    @abstractmethod
    def fail(self, fault: ConnectionFault) -> None:
        """Tell the peer why, and give up all streams (RFC 9113, 5.4.1)."""

    def _greeting(self, more_settings: dict[int, int]) -> bytes:
        settings = {
            **more_settings,
            frames.INITIAL_WINDOW_SIZE: self._limits.window_bytes,
            frames.MAX_FRAME_SIZE: self._limits.max_frame_bytes,
            frames.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
        }
        more = frames.MAX_WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES
        return frames.settings(settings) + frames.window_update(0, more)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._sending.control(frames.frame(frames.PING, 0, 0, bytes(8)))

    def end(self, text: str) -> None:
        """Give up all streams: the peer is gone, or has to go."""
        self._closing = True
        for stream in self._all():
            self.lose(stream, text)

    def _all(self) -> tuple[Stream, ...]:
        """Return those whose end somebody has to hear of."""
        return tuple(self._streams.values())

    def flush(self) -> None:
        """Write what is to be sent now and not in the loop's next turn: the transport is about to be closed."""
        self._sending.flush()

    def pause(self) -> None:
        self._sending.pause()

    def resume(self) -> None:
        self._sending.resume()

    # --- for who is behind a stream ---------------------------------------------------------

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once; its sink hears nothing more."""
        if not stream.closed:
            self._sending.control(frames.rst_stream(stream.id, code))
            self._close(stream)

    def resize_window(self, byte_count: int) -> None:
        """Let each stream send so many bytes before anybody reads them, as soon as the peer has taken note."""
        self._resizes.append(byte_count)
        self._sending.control(frames.settings({frames.INITIAL_WINDOW_SIZE: byte_count}))

    def settings_acknowledged(self) -> None:
        """Apply what the peer has taken note of to the streams that are open (RFC 9113, 6.9.2)."""
        if not self._resizes:
            return
        change = self._resizes[0] - self._window_bytes
        self._window_bytes = self._resizes.popleft()
        for stream in self._streams.values() if change else ():
            stream.receivable_bytes += change
            if stream.wanted_bytes > 0:
                self.let_send(stream, stream.wanted_bytes)

    def let_send(self, stream: Stream, byte_count: int) -> None:
        """Let the peer send at least so many bytes more on a stream, and then at least its first window."""
        stream.wanted_bytes = byte_count
        if byte_count > stream.receivable_bytes and not stream.closed and not stream.remote_ended:
            window_bytes = min(max(byte_count, self._limits.window_bytes), frames.MAX_WINDOW_BYTES)
            self._give(stream, window_bytes - stream.receivable_bytes)

    def _give(self, stream: Stream, byte_count: int) -> None:
        stream.receivable_bytes += byte_count
        self._sending.control(frames.window_update(stream.id, byte_count))

    # --- for the way in ---------------------------------------------------------------------

    def data_comes(self, stream_id: int, length_bytes: int, *, padding_bytes: int, empty: bool) -> Stream | None:
        """Count a DATA frame; return whose it is, or None where it is of a stream that has ended.

        Padding counts in windows, but is nothing that anybody reads, so it is given back at once (RFC 9113, 6.9.1).
        """
        if self._sending.unread_bytes:
            self._sending.check_read()
        self._receivable_bytes -= length_bytes
        if self._receivable_bytes < frames.MAX_WINDOW_BYTES // 2:
            more = frames.MAX_WINDOW_BYTES - self._receivable_bytes
            self._receivable_bytes += more
            self._sending.control(frames.window_update(0, more))
        if empty:
            self._patience.spend()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._control.check_known(stream_id, "DATA")
            return None
        if stream.remote_ended:
            raise ConnectionFault(frames.STREAM_CLOSED, "DATA after the end of its stream")
        stream.receivable_bytes -= length_bytes
        stream.wanted_bytes -= length_bytes
        if stream.receivable_bytes < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        if padding_bytes:
            self._give(stream, padding_bytes)
        return stream

    @abstractmethod
    def body_ended(self, stream: Stream) -> None: ...

    @abstractmethod
    def headers_came(self, stream_id: int, block: bytes, *, ended: bool) -> None: ...

    def window_came(self, stream_id: int, byte_count: int) -> None:
        """Take a WINDOW_UPDATE."""
        if self._sending.unread_bytes:
            self._sending.check_read()
        self._control.window_came(stream_id, byte_count)

    def control_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a frame that is neither DATA nor headers."""
        if self._sending.unread_bytes:
            self._sending.check_read()
        self._control.came(kind, flags, stream_id, payload)

    @abstractmethod
    def was_reset(self, stream: Stream, code: int) -> None: ...

    @abstractmethod
    def settings_came(self) -> None:
        """Take note that the peer's settings are in force."""

    @abstractmethod
    def went_away(self, last_stream_id: int, code: int) -> None:
        """Take note that the peer wants no more streams (RFC 9113, 6.8)."""

    # --- ends of streams --------------------------------------------------------------------

    @abstractmethod
    def _all_sent(self, stream: Stream) -> None: ...

    def lose(self, stream: Stream, text: str) -> None:
        """End a stream, and tell whoever is behind it."""
        if not stream.closed:
            sink = stream.sink
            self._close(stream)
            if sink is not None:
                sink.lost(text)

    def _close(self, stream: Stream) -> None:
        stream.closed = True
        stream.sink = None
        self._streams.pop(stream.id, None)
        self._sending.forget(stream)
