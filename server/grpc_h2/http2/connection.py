# SPDX-License-Identifier: Apache-2.0
"""The streams of one connection, and what client and server do alike with them. No I/O and no clock of its own."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grpc_h2.buffers import Buffer
from grpc_h2.http2.control_frame_limiter import ControlFrameLimiter
from grpc_h2.http2.control_frames import ControlFrames
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.receive_windows import ReceiveWindows
from grpc_h2.http2.receiving import Receiving
from grpc_h2.http2.sending import Sending
from grpc_h2.http2.stream import Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault, FaultKind, OnFault, kind_of
from grpc_h2.http2.wire.header_blocks import HeaderBlockReader

# Given up in one step of the event loop: for each of them a call is ended.
_LOST_A_STEP = 32


@dataclass(frozen=True, slots=True)
class ConnectionHost:
    """What a connection is given by whoever has it on a transport.

    `write` takes buffers to be sent, in order; `soon` has something done in the loop's next turn; `now` tells the
    time, in seconds; `on_fault` is told of what the peer did wrong on a stream, as what ends the connection is
    raised; `on_drained` is told once a connection that takes no more streams has none left.
    """

    write: Callable[[Sequence[Buffer]], None]
    soon: Callable[[Callable[[], None]], object]
    now: Callable[[], float]
    on_fault: OnFault
    on_drained: Callable[[], None]


class Connection(ABC):
    """The part of a connection that does not depend on who began it.

    Owns the streams, and the state of both directions. Touched on the event loop only. Invariants:
    of a stream's end its sink hears exactly once, by `Sink.lost` or by what ends it in order; a
    connection that is closing opens no stream.

    Args:
        limits: What the connection may cost.
        host: Its transport, and who is told of it.
        preface: What the peer has to begin with.
    """

    def __init__(self, limits: Http2Limits, host: ConnectionHost, *, preface: bytes) -> None:
        self._limits = limits
        self._host = host
        self._streams: dict[int, Stream] = {}
        self._closing = False
        self._limiter = ControlFrameLimiter(
            burst=limits.control_frame_burst, per_s=limits.control_frames_per_s, now=host.now
        )
        block_bytes = 2 * limits.max_header_bytes
        self._headers = HeaderBlockReader(block_bytes)
        self._sending = Sending(write=host.write, soon=host.soon, on_all_sent=self._all_sent)
        self._windows = ReceiveWindows(
            self._sending.control,
            self._streams,
            connection_bytes=limits.connection_window_bytes,
            stream_bytes=limits.window_bytes,
        )
        self.receiving = Receiving(
            self, max_frame_bytes=limits.max_frame_bytes, max_block_bytes=block_bytes, preface=preface
        )
        self._control = ControlFrames(
            self._sending, self._limiter, streams=self._streams, events=self, max_enable_push=int(bool(preface))
        )

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._streams)} streams>"

    # --- the connection's own life ----------------------------------------------------------

    @abstractmethod
    def greet(self) -> None:
        """Send our settings, and open the connection's window: streams have windows of their own."""

    def shut(self) -> None:
        """Take no new streams, and tell the peer."""
        if not self._closing:
            self._closing = True
            self._sending.control(frames.goaway(self._last_peer_id(), frames.NO_ERROR))

    def fail(self, fault: ConnectionFault) -> None:
        """Tell the peer why, and give up all streams (RFC 9113, 5.4.1)."""
        self._sending.control(frames.goaway(self._last_peer_id(), fault.code, fault.text))
        self.end(fault.text)

    @abstractmethod
    def _last_peer_id(self) -> int:
        """Return the number of the last stream that the peer has opened; 0: none."""

    def _greeting(self, more_settings: dict[int, int]) -> bytes:
        settings = {
            **more_settings,
            frames.INITIAL_WINDOW_SIZE: self._limits.window_bytes,
            frames.MAX_FRAME_SIZE: self._limits.max_frame_bytes,
            frames.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
        }
        return frames.settings(settings) + self._windows.greeting()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._sending.control(frames.frame(frames.PING, 0, 0, bytes(8)))

    def end(self, text: str) -> None:
        """Give up all streams: the peer is gone, or has to go."""
        self._closing = True
        self._lose_some(text)

    def _lose_some(self, text: str) -> None:
        """Give up as many streams as others can wait for, and the rest in a later step."""
        streams = self._all()
        for stream in streams[:_LOST_A_STEP]:
            self.lose(stream, text)
        if len(streams) > _LOST_A_STEP:
            self._host.soon(functools.partial(self._lose_some, text))

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
            self._send_reset(stream.id, code, stream)
            self._drop(stream)

    def resize_window(self, byte_count: int) -> None:
        """Let each stream send so many bytes before anybody reads them, as soon as the peer has taken note."""
        self._windows.resize(byte_count)

    def settings_acknowledged(self) -> None:
        """Apply what the peer has taken note of."""
        self._windows.acknowledged()

    @abstractmethod
    def ping_acknowledged(self, payload: bytes) -> None:
        """Take note of the answer to a PING."""

    def let_send(self, stream: Stream, byte_count: int) -> None:
        """Let the peer send at least so many bytes more on a stream, step by step; then at least its first window."""
        self._windows.let_send(stream, byte_count)

    # --- for the way in ---------------------------------------------------------------------

    def data_comes(self, stream_id: int, length_bytes: int, *, padding_bytes: int, ended: bool) -> Stream | None:
        """Count a DATA frame; return whose it is, or None where nobody takes it."""
        if self._sending.unread_bytes:
            self._sending.check_read()
        self._windows.count(length_bytes)
        if length_bytes == padding_bytes and not ended:
            self._limiter.spend()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._control.check_known(stream_id, "DATA")
            self._late_data(stream_id, length_bytes)
            return None
        if stream.remote_ended:
            self.stream_error(stream, frames.STREAM_CLOSED, "DATA after the end of its stream")
            return None
        if stream.announced_bytes is not None:
            stream.announced_bytes -= length_bytes - padding_bytes
            if stream.announced_bytes < 0 or (ended and stream.announced_bytes):
                self.malformed(stream, "a body that is not as long as its content-length")
                return None
        self._windows.count_of(stream, length_bytes, padding_bytes=padding_bytes, ended=ended)
        return stream

    @abstractmethod
    def body_ended(self, stream: Stream) -> None: ...

    @abstractmethod
    def headers_came(self, stream_id: int, block: bytes, *, ended: bool, depends_on_itself: bool) -> None: ...

    @abstractmethod
    def _late_data(self, stream_id: int, byte_count: int) -> None:
        """Take note of DATA on a stream that is over."""

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

    def was_reset(self, stream_id: int, code: int) -> None:
        """Take a RST_STREAM."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._control.check_known(stream_id, "RST_STREAM")
            self._over(stream_id)
        else:
            self._break(stream, code, f"the peer reset the stream with code {code}")

    @abstractmethod
    def _over(self, stream_id: int) -> None:
        """Take note that nothing more will come on a stream that has ended."""

    @abstractmethod
    def settings_came(self) -> None:
        """Take note that the peer's settings are in force."""

    @abstractmethod
    def went_away(self, last_stream_id: int, code: int) -> None:
        """Take note that the peer wants no more streams (RFC 9113, 6.8)."""

    # --- ends of streams --------------------------------------------------------------------

    @abstractmethod
    def _all_sent(self, stream: Stream) -> None: ...

    def stream_error(self, stream: Stream, code: int, text: str, kind: FaultKind | None = None) -> None:
        """End a stream on which the peer did what it may not (RFC 9113, 5.4.2)."""
        self._limiter.spend()  # a peer that provokes resets costs as much as one that sends them
        self._host.on_fault(kind or kind_of(code), text)
        self._send_reset(stream.id, code, stream)
        self._break(stream, code, text)

    def malformed(self, stream: Stream, text: str) -> None:
        """End a stream on which no message of HTTP's came (RFC 9113, 8.1.1)."""
        self.stream_error(stream, frames.PROTOCOL_ERROR, text, FaultKind.MALFORMED_MESSAGE)

    def _send_reset(self, stream_id: int, code: int, stream: Stream | None = None) -> None:
        """Tell the peer that a stream is over, or never was."""
        del stream
        self._sending.control(frames.rst_stream(stream_id, code))

    @abstractmethod
    def _break(self, stream: Stream, code: int, text: str) -> None:
        """End a stream, and tell whoever is behind it."""

    def lose(self, stream: Stream, text: str) -> None:
        """End a stream, and tell whoever is behind it."""
        if not stream.closed:
            sink = stream.sink
            self._drop(stream)
            if sink is not None:
                sink.lost(text)

    def _drop(self, stream: Stream) -> None:
        stream.closed = True
        stream.sink = None
        self._streams.pop(stream.id, None)
        self._sending.forget(stream)
