# SPDX-License-Identifier: Apache-2.0
"""Frames that carry neither bodies nor headers (RFC 9113, 6.3 to 6.9)."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from grpc_h2.http2.control_frame_limiter import ControlFrameLimiter
from grpc_h2.http2.sending import Sending
from grpc_h2.http2.stream import Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault

DEPENDS_ON_ITSELF: Final = "a stream that depends on itself"


class ControlEvents(Protocol):
    """The connection as its control frames need it: what client and server do differently."""

    def stream_error(self, stream: Stream, code: int, text: str) -> None:
        """End a stream on which the peer did what it may not."""
        ...

    def was_reset(self, stream_id: int, code: int) -> None: ...

    def settings_came(self) -> None: ...

    def settings_acknowledged(self) -> None: ...

    def ping_acknowledged(self, payload: bytes) -> None: ...

    def went_away(self, last_stream_id: int, code: int) -> None: ...


class ControlFrames:
    """Does what control frames of one connection ask for.

    Owns the number of the last stream that was opened, and how many the peer lets be open at once; the streams
    themselves are the connection's.

    Args:
        sending: The connection's way out.
        limiter: Spent by each frame but those that let us send.
        streams: Those that are open, by number.
        events: Told of what concerns more than this frame.
        max_enable_push: 1 of a client, who may want pushes; 0 of a server, who may not.
    """

    def __init__(
        self,
        sending: Sending,
        limiter: ControlFrameLimiter,
        *,
        streams: Mapping[int, Stream],
        events: ControlEvents,
        max_enable_push: int,
    ) -> None:
        self._max_enable_push = max_enable_push
        self._table_told = False
        self._sending = sending
        self._limiter = limiter
        self._streams = streams
        self._events = events
        self.last_stream_id = 0
        self.max_streams = frames.MAX_STREAM_ID
        self._kinds: dict[int, Callable[[int, int, bytes], None]] = {
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PING: self._on_ping,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.PRIORITY: self._on_priority,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.GOAWAY: self._on_goaway,
        }

    def came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a frame; unknown kinds are ignored (RFC 9113, 5.5).

        Raises:
            ConnectionFault: It is not what HTTP/2 allows, or there are too many.
        """
        self._limiter.spend()
        act = self._kinds.get(kind)
        if act is not None:
            act(flags, stream_id, payload)

    def check_known(self, stream_id: int, what: str) -> None:
        """Raise where no stream of that number has ever been opened."""
        if not stream_id or stream_id % 2 == 0 or stream_id > self.last_stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"{what} on a stream that is not open")

    def _on_reset(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_length(payload, 4)
        self._events.was_reset(stream_id, int.from_bytes(payload, "big"))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        if flags & frames.ACK:
            _check_length(payload, 0)
            self._events.settings_acknowledged()
            return
        if len(payload) % 6:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        # First, because what larger windows let out at once must come after it.
        self._sending.control(frames.frame(frames.SETTINGS, frames.ACK, 0))
        for name, value in dict(frames.read_settings(payload)).items():  # of the same setting the last counts
            self._apply(name, value)
        self._events.settings_came()

    def _apply(self, name: int, value: int) -> None:
        if name == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW_BYTES:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE out of range")
            self._sending.resize_windows(value, tuple(self._streams.values()))
        elif name == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_BYTES <= value <= frames.LARGEST_FRAME_BYTES:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
            self._sending.max_frame_bytes = value
        elif name == frames.MAX_CONCURRENT_STREAMS:
            self.max_streams = value
        elif name == frames.ENABLE_PUSH and value > self._max_enable_push:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "ENABLE_PUSH out of range")
        elif name == frames.HEADER_TABLE_SIZE and value < frames.DEFAULT_TABLE_BYTES and not self._table_told:
            self._table_told = True
            self._sending.shrink_table()

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        _check_length(payload, 8)
        if flags & frames.ACK:
            self._events.ping_acknowledged(payload)
        else:
            self._sending.control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_window_update(self, _flags: int, _stream_id: int, payload: bytes) -> None:
        _check_length(payload, frames.NUMBER_BYTES)  # those of the right length go to `window_came`

    def window_came(self, stream_id: int, byte_count: int) -> None:
        """Count a WINDOW_UPDATE, of which there may be any number: who reads an answer may send one for each byte.

        Raises:
            ConnectionFault: It is not what HTTP/2 allows.
        """
        if not stream_id:
            if not byte_count:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            self._sending.allow(byte_count)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self.check_known(stream_id, "WINDOW_UPDATE")
        elif not byte_count:
            self._events.stream_error(stream, frames.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        elif not self._sending.allow_stream(stream, byte_count):
            self._events.stream_error(stream, frames.FLOW_CONTROL_ERROR, "the stream's window is too large")

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_length(payload, 5)
        if not stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "PRIORITY of no stream")
        if frames.read_number(payload) != stream_id:
            return
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._events.stream_error(stream, frames.PROTOCOL_ERROR, DEPENDS_ON_ITSELF)
        elif stream_id > self.last_stream_id:  # an idle one cannot be reset
            raise ConnectionFault(frames.PROTOCOL_ERROR, DEPENDS_ON_ITSELF)

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "PUSH_PROMISE is refused")

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        if len(payload) < 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
        self._events.went_away(frames.read_number(payload[:4]), int.from_bytes(payload[4:8], "big"))


def _check_length(payload: bytes, length_bytes: int) -> None:
    if len(payload) != length_bytes:
        raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a control frame of a wrong length")


def _check_connection(stream_id: int) -> None:
    if stream_id:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "a connection's frame on a stream")
