# SPDX-License-Identifier: Apache-2.0
"""What comes in, cut into frames: bodies pass through as they come, small frames are put together first."""

from typing import Protocol

from grpc_h2.http2.stream import Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault, FaultKind, HeadersTooLarge
from grpc_h2.http2.wire.foreign import what_it_speaks

# The longest frame that carries neither a body nor headers.
_MAX_CONTROL_BYTES = 16_384
_MAX_CONTINUATIONS = 16
# To begin a call costs a server as much as so many other frames.
_CALL_FRAMES = 12
# A pad length, 255 bytes of padding and a priority (RFC 9113, 6.2).
_MAX_AROUND_BLOCK_BYTES = 261
# Less than that is not worth a read of its own.
_IN_PLACE_BYTES = 16_384
_LARGE_BYTES = 32_768


class Events(Protocol):
    """The connection as its way in needs it."""

    def data_comes(self, stream_id: int, length_bytes: int, *, padding_bytes: int, ended: bool) -> Stream | None: ...

    def body_ended(self, stream: Stream) -> None: ...

    def headers_came(self, stream_id: int, block: bytes, *, ended: bool, depends_on_itself: bool) -> None: ...

    def window_came(self, stream_id: int, byte_count: int) -> None: ...

    def control_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None: ...


class Receiving:
    """The way into one connection.

    Owns what has come of a frame or header block that is not whole yet. Invariants: of DATA
    nothing is kept here; what is kept is at most a control frame and one header block of
    `max_block_bytes`. `preface` is what the peer's first bytes have to be; a server has none (RFC 9113, 3.4).
    """

    def __init__(
        self, events: Events, *, max_frame_bytes: int, max_block_bytes: int, preface: bytes = frames.PREFACE
    ) -> None:
        self._events = events
        block_frame_bytes = max(max_block_bytes + _MAX_AROUND_BLOCK_BYTES, _MAX_CONTROL_BYTES)
        self._max_frame_bytes = max_frame_bytes
        self._max_bytes = {
            frames.DATA: max_frame_bytes,
            frames.HEADERS: block_frame_bytes,
            frames.CONTINUATION: block_frame_bytes,
        }
        self._max_block_bytes = max_block_bytes
        self._greeting = preface
        self._begun_by_us = not preface
        self.greeted = False  # whether the peer has introduced itself as one that speaks HTTP/2
        self._rest = b""
        self._stream: Stream | None = None
        self.body_bytes = 0  # of the DATA frame that is coming
        # Whether the next one is probably large, and should be received in place from as early on as possible.
        self.large_bodies = False
        self._padding_bytes = 0
        self._body_ends = False
        self._block = bytearray()
        self._block_stream_id = 0  # of the header block that is coming; 0: none is
        self._block_ends = self._block_depends_on_itself = False
        self._continuation_count = 0
        self.block_count = 0  # of header blocks that have come

    # --- bodies in place --------------------------------------------------------------------

    def room(self) -> memoryview | None:
        """Return where the next bytes from the socket may be written, nothing but body; None: `take` them."""
        if self.body_bytes < _IN_PLACE_BYTES or self._stream is None or self._stream.sink is None:
            return None
        room = self._stream.sink.room()
        return None if room is None else room[: self.body_bytes]

    def wrote(self, byte_count: int) -> None:
        """Tell that so many bytes were written to `room()`."""
        self.body_bytes -= byte_count
        stream = self._stream
        if stream is not None and stream.sink is not None:
            stream.sink.wrote(byte_count)
        if not self.body_bytes and not self._padding_bytes:
            self._data_is_whole()

    # --- everything else --------------------------------------------------------------------

    def take(self, data: memoryview, most_frames: int | None = None) -> bool:
        """Take bytes as they came; the view is valid during the call only.

        Args:
            data: What came.
            most_frames: Begin no more than so many frames, a call's headers counting as twelve; then it
                tells whether others are left, and goes on with them when it is called again, with or without more.

        Raises:
            ConnectionFault: They are not HTTP/2, or not what it allows.
        """
        if self._rest:
            data = memoryview(self._rest + bytes(data))
            self._rest = b""
        at = self._greet(data) if self._greeting else 0
        end = len(data)
        while at < end:
            if self.body_bytes or self._padding_bytes:
                at += self._take_body(data, at)
                continue
            if most_frames is not None and most_frames <= 0:
                self._rest = bytes(data[at:])
                return True
            blocks = self.block_count
            taken = self._take_frame(data, at, end - at)
            if not taken:
                self._rest = bytes(data[at:])
                return False
            at += taken
            if most_frames is not None:
                most_frames -= _CALL_FRAMES if self.block_count > blocks and not self._begun_by_us else 1
        return False

    def _greet(self, data: memoryview) -> int:
        """Take what is there of the preface (RFC 9113, 3.4)."""
        size = min(len(data), len(self._greeting))
        if data[:size] != self._greeting[:size]:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "no HTTP/2 preface", FaultKind.NO_PREFACE)
        self._greeting = self._greeting[size:]
        return size

    def _take_body(self, data: memoryview, at: int) -> int:
        size = min(self.body_bytes, len(data) - at)
        if size:
            self.body_bytes -= size
            stream = self._stream
            if stream is not None and stream.sink is not None:
                stream.sink.feed(data[at : at + size])
        padding = min(self._padding_bytes, len(data) - at - size)
        if not self.body_bytes:
            self._padding_bytes -= padding
            if not self._padding_bytes:
                self._data_is_whole()
        return size + padding

    def _data_is_whole(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None and self._body_ends:
            self._events.body_ended(stream)

    def _take_frame(self, data: memoryview, at: int, left: int) -> int:
        """Take one frame, of DATA the beginning; return its bytes, or 0 where some of the `left` ones are missing."""
        if left < frames.HEADER_BYTES:
            return 0
        length, kind, flags, stream_id = frames.read_header(data, at)
        if length > _MAX_CONTROL_BYTES or not self.greeted or self._block_stream_id or kind == frames.CONTINUATION:
            if self._begun_by_us and not self.greeted:
                self._check_first(bytes(data[at : at + frames.HEADER_BYTES]), length, kind)
            self._check(length, kind, stream_id)
        if kind == frames.DATA:
            return self._begin_data(data, at, length, flags, stream_id)
        size = frames.HEADER_BYTES + length
        if left < size:
            return 0
        if kind == frames.WINDOW_UPDATE and length == frames.NUMBER_BYTES:
            self._events.window_came(stream_id, frames.read_number(data, at + frames.HEADER_BYTES))
            return size
        payload = bytes(data[at + frames.HEADER_BYTES : at + size])
        if kind == frames.HEADERS:
            self._begin_block(flags, stream_id, payload)
        elif kind == frames.CONTINUATION:
            self._continue_block(flags, payload)
        else:
            self._events.control_came(kind, flags, stream_id, payload)
        return size

    def _check_first(self, head: bytes, length: int, kind: int) -> None:
        """Look whether a server's first frame is SETTINGS (RFC 9113, 3.4), and what it is if not."""
        if kind != frames.SETTINGS and kind not in (frames.HEADERS, frames.CONTINUATION):
            too_large = length > self._max_bytes.get(kind, _MAX_CONTROL_BYTES)
            code = frames.FRAME_SIZE_ERROR if too_large else frames.PROTOCOL_ERROR
            raise ConnectionFault(code, f"the peer speaks {what_it_speaks(head) or 'no HTTP/2'}")

    def _check(self, length: int, kind: int, stream_id: int) -> None:
        if length > self._max_bytes.get(kind, _MAX_CONTROL_BYTES):
            if kind in (frames.HEADERS, frames.CONTINUATION) and length <= self._max_frame_bytes:
                raise HeadersTooLarge(stream_id)
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "the frame is too large")
        if not self.greeted:
            if kind != frames.SETTINGS:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "the first frame is no SETTINGS")
            self.greeted = True
        if bool(self._block_stream_id) != (kind == frames.CONTINUATION) or (
            self._block_stream_id and self._block_stream_id != stream_id
        ):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block is interrupted, or continues nothing")

    def _begin_data(self, data: memoryview, at: int, length: int, flags: int, stream_id: int) -> int:
        padding, taken = 0, frames.HEADER_BYTES
        if flags & frames.PADDED:
            if len(data) - at <= frames.HEADER_BYTES:
                return 0
            padding, taken = data[at + taken], taken + 1
            if padding >= length:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "more padding than payload")
        ends = bool(flags & frames.END_STREAM)
        around = padding + taken - frames.HEADER_BYTES
        self.body_bytes = length - around
        self.large_bodies = length >= _LARGE_BYTES
        self._padding_bytes = padding
        self._body_ends = ends
        self._stream = self._events.data_comes(stream_id, length, padding_bytes=around, ended=ends)
        if not self.body_bytes and not padding:
            self._data_is_whole()
        return taken

    def _begin_block(self, flags: int, stream_id: int, payload: bytes) -> None:
        start = padding = 0
        if flags & frames.PADDED:
            padding, start = payload[0] if payload else 0, 1
        if flags & frames.HAS_PRIORITY:
            start += 5
        if not stream_id or start + padding > len(payload):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "HEADERS without a stream, or with more padding than payload")
        itself = bool(flags & frames.HAS_PRIORITY) and frames.read_number(payload, start - 5) == stream_id
        block = payload[start : len(payload) - padding]
        ends = bool(flags & frames.END_STREAM)
        self._check_block(len(block), stream_id)
        if flags & frames.END_HEADERS:
            self.block_count += 1
            self._events.headers_came(stream_id, block, ended=ends, depends_on_itself=itself)
            return
        self._block += block
        self._block_stream_id, self._block_ends, self._block_depends_on_itself = stream_id, ends, itself

    def _continue_block(self, flags: int, payload: bytes) -> None:
        self._block += payload
        self._continuation_count += 1
        self._check_block(len(self._block), self._block_stream_id)
        if flags & frames.END_HEADERS:
            block, stream_id = bytes(self._block), self._block_stream_id
            self._block.clear()
            self._block_stream_id = self._continuation_count = 0
            self.block_count += 1
            self._events.headers_came(
                stream_id, block, ended=self._block_ends, depends_on_itself=self._block_depends_on_itself
            )

    def _check_block(self, length_bytes: int, stream_id: int) -> None:
        if length_bytes > self._max_block_bytes or self._continuation_count > _MAX_CONTINUATIONS:
            raise HeadersTooLarge(stream_id)
