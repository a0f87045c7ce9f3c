# SPDX-License-Identifier: Apache-2.0
"""One connection's protocol: bytes in, streams and frames out. No I/O and no clock of its own (RFC 9113)."""

from collections.abc import Callable, Sequence

from matting_gateway.domain import Buffer
from matting_gateway.http2 import frames
from matting_gateway.http2.errors import ConnectionFault
from matting_gateway.http2.header_blocks import Fields, HeaderBlockReader
from matting_gateway.http2.limits import Http2Limits
from matting_gateway.http2.nuisance import Patience
from matting_gateway.http2.receiving import Receiving
from matting_gateway.http2.sending import Sending
from matting_gateway.http2.stream import Sink, Stream

OpenStream = Callable[["Connection", Stream, Fields], Sink]


class Connection:
    """The streams of one connection.

    Owns them, and the state of both directions. Touched on the event loop only. Invariants:
    streams have odd, rising numbers; at most `max_streams` are open; whoever opened one hears of
    its end exactly once, by `Sink.lost` or by having sent the last of it.

    Args:
        limits: What the connection may cost.
        write: Takes buffers to be sent, in order.
        open_stream: Told of each new stream with its headers; returns who takes its body.
        soon: Has something done in the loop's next turn.
        now: Tells the time, in seconds.
    """

    def __init__(
        self,
        limits: Http2Limits,
        *,
        write: Callable[[Sequence[Buffer]], None],
        open_stream: OpenStream,
        soon: Callable[[Callable[[], None]], object],
        now: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._open_stream = open_stream
        self._streams: dict[int, Stream] = {}
        self._last_stream_id = 0
        self._closing = False
        self._patience = Patience(burst=limits.nuisance_burst, per_s=limits.nuisance_per_s, now=now)
        self._headers = HeaderBlockReader(2 * limits.max_header_bytes)
        self._sending = Sending(write=write, soon=soon, on_all_sent=self._all_sent)
        self._receivable_bytes = frames.MAX_WINDOW_BYTES
        self.receiving = Receiving(self, max_frame_bytes=limits.max_frame_bytes, max_block_bytes=self._max_block_bytes)
        self._kinds: dict[int, Callable[[int, int, bytes], None]] = {
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PING: self._on_ping,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.PRIORITY: self._on_priority,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.GOAWAY: self._on_goaway,
        }

    @property
    def _max_block_bytes(self) -> int:
        return 2 * self._limits.max_header_bytes

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    @property
    def greeted(self) -> bool:
        """Whether the peer has introduced itself as one that speaks HTTP/2."""
        return self.receiving.greeted

    def __repr__(self) -> str:
        return f"<Connection of {len(self._streams)} streams>"

    # --- the connection's own life ----------------------------------------------------------

    def greet(self) -> None:
        """Send our settings, and open the connection's window: streams have windows of their own."""
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
            frames.INITIAL_WINDOW_SIZE: self._limits.window_bytes,
            frames.MAX_FRAME_SIZE: self._limits.max_frame_bytes,
            frames.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
        }
        more = frames.MAX_WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES
        self._sending.control(frames.settings(settings) + frames.window_update(0, more))

    def receive(self, data: memoryview) -> None:
        """Take what came.

        Raises:
            ConnectionFault: The connection must end.
        """
        self.receiving.take(data)

    def received_in_place(self, byte_count: int) -> None:
        """Take what was written to `receiving.room()`."""
        self.receiving.wrote(byte_count)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._sending.control(frames.frame(frames.PING, 0, 0, bytes(8)))

    def shut(self) -> None:
        """Take no new streams."""
        if not self._closing:
            self._closing = True
            self._sending.control(frames.goaway(self._last_stream_id, frames.NO_ERROR))

    def fail(self, fault: ConnectionFault) -> None:
        """Tell the peer why, and give up all streams (RFC 9113, 5.4.1)."""
        self._sending.control(frames.goaway(self._last_stream_id, fault.code, fault.text))
        self.end(fault.text)

    def end(self, text: str) -> None:
        """Give up all streams: the peer is gone, or has to go."""
        self._closing = True
        for stream in tuple(self._streams.values()):
            self._lose(stream, text)

    def flush(self) -> None:
        """Write what is to be sent now and not in the loop's next turn: the transport is about to be closed."""
        self._sending.flush()

    def pause(self) -> None:
        self._sending.pause()

    def resume(self) -> None:
        self._sending.resume()

    # --- for who serves a stream ------------------------------------------------------------

    def send(
        self,
        stream: Stream,
        *,
        headers: bytes = b"",
        message: tuple[bytes, Buffer] | None = None,
        trailers: bytes = b"",
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        """Send header block, one message and trailers of a stream, each if given; on a closed stream nothing.

        `on_sent` is called once all of it has been written, and not if the stream is lost before.
        """
        if stream.closed:
            return
        sending = self._sending
        if headers:
            sending.headers(stream, headers)
        if message is not None:
            sending.body(stream, *message)
        if trailers:
            sending.headers(stream, trailers, last=True)
        if on_sent is not None:
            stream.unsent.append(on_sent)
        sending.pump(stream)

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once; its sink hears nothing more."""
        if not stream.closed:
            self._sending.control(frames.rst_stream(stream.id, code))
            self._close(stream)

    def let_send(self, stream: Stream, byte_count: int) -> None:
        """Let the peer send at least so many bytes more on a stream."""
        more = min(byte_count, frames.MAX_WINDOW_BYTES) - stream.receivable_bytes
        if more > 0 and not stream.closed and not stream.remote_ended:
            stream.receivable_bytes += more
            self._sending.control(frames.window_update(stream.id, more))

    # --- for the way in ---------------------------------------------------------------------

    def data_comes(self, stream_id: int, length_bytes: int, *, empty: bool) -> Stream | None:
        """Count a DATA frame; return whose it is, or None where it is of a stream that has ended."""
        self._receivable_bytes -= length_bytes
        if self._receivable_bytes < frames.MAX_WINDOW_BYTES // 2:
            more = frames.MAX_WINDOW_BYTES - self._receivable_bytes
            self._receivable_bytes += more
            self._sending.control(frames.window_update(0, more))
        if empty:
            self._patience.spend()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id, "DATA")
            return None
        if stream.remote_ended:
            raise ConnectionFault(frames.STREAM_CLOSED, "DATA after the end of its stream")
        stream.receivable_bytes -= length_bytes
        if stream.receivable_bytes < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        return stream

    def body_ended(self, stream: Stream) -> None:
        if not stream.closed:
            stream.remote_ended = True
            if stream.sink is not None:
                stream.sink.ended()

    def headers_came(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """Open a stream, or end one by its trailers."""
        fields = self._headers.read(block)
        stream = self._streams.get(stream_id)
        if stream is not None:
            if stream.remote_ended or not ended:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "headers in the middle of a stream")
            self.body_ended(stream)
            return
        if stream_id % 2 == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a stream with an even number")
        if stream_id <= self._last_stream_id:
            self._patience.spend()  # trailers of a stream that we have ended, as a rule
            return
        self._last_stream_id = stream_id
        if self._closing or len(self._streams) >= self._limits.max_streams:
            self._patience.spend()
            self._sending.reply(frames.rst_stream(stream_id, frames.REFUSED_STREAM))
            return
        self._begin(stream_id, fields, ended=ended)

    def _begin(self, stream_id: int, fields: Fields, *, ended: bool) -> None:
        stream = Stream(
            stream_id,
            receivable_bytes=self._limits.window_bytes,
            sendable_bytes=self._sending.stream_window_bytes,
            remote_ended=ended,
        )
        self._streams[stream_id] = stream
        sink = self._open_stream(self, stream, fields)
        stream.sink = None if stream.closed else sink
        if ended and stream.sink is not None:
            stream.sink.ended()

    def control_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a frame that is neither DATA nor headers; unknown kinds are ignored (RFC 9113, 5.5)."""
        act = self._kinds.get(kind)
        if act is not None:
            act(flags, stream_id, payload)
        else:
            self._patience.spend()

    # --- frames -----------------------------------------------------------------------------

    def _on_reset(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_length(payload, 4)
        self._patience.spend()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id, "RST_STREAM")
        else:
            self._lose(stream, "the caller gave up")

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        if flags & frames.ACK:
            _check_length(payload, 0)
            return
        if len(payload) % 6:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        self._patience.spend()
        for name, value in frames.read_settings(payload):
            self._apply(name, value)
        self._sending.reply(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _apply(self, name: int, value: int) -> None:
        if name == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW_BYTES:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE out of range")
            self._sending.resize_windows(value, tuple(self._streams.values()))
        elif name == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_BYTES <= value <= frames.LARGEST_FRAME_BYTES:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
            self._sending.max_frame_bytes = value
        elif name == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "ENABLE_PUSH out of range")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        _check_length(payload, 8)
        if not flags & frames.ACK:
            self._patience.spend()
            self._sending.reply(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_length(payload, 4)
        byte_count = frames.read_number(payload)
        if not byte_count:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        if not stream_id:
            self._sending.allow(byte_count)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id, "WINDOW_UPDATE")
        elif not self._sending.allow_stream(stream, byte_count):
            self._sending.control(frames.rst_stream(stream_id, frames.FLOW_CONTROL_ERROR))
            self._lose(stream, "the stream's window is too large")

    def _on_priority(self, _flags: int, _stream_id: int, payload: bytes) -> None:
        _check_length(payload, 5)
        self._patience.spend()

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _on_goaway(self, _flags: int, stream_id: int, _payload: bytes) -> None:
        _check_connection(stream_id)  # a client that goes sends nothing new; what it asked for is still answered

    def _check_known(self, stream_id: int, what: str) -> None:
        if not stream_id or stream_id % 2 == 0 or stream_id > self._last_stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"{what} on a stream that is not open")

    # --- ends of streams --------------------------------------------------------------------

    def _all_sent(self, stream: Stream) -> None:
        if not stream.closed:
            if not stream.remote_ended:  # nothing more of its body is wanted (RFC 9113, 8.1)
                self._sending.control(frames.rst_stream(stream.id, frames.NO_ERROR))
            self._close(stream)

    def _lose(self, stream: Stream, text: str) -> None:
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


def _check_length(payload: bytes, length_bytes: int) -> None:
    if len(payload) != length_bytes:
        raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a control frame of a wrong length")


def _check_connection(stream_id: int) -> None:
    if stream_id:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "a connection's frame on a stream")
