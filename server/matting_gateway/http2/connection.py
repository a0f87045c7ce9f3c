# SPDX-License-Identifier: Apache-2.0
"""One connection's protocol: bytes in, streams and frames out. No I/O and no clock of its own (RFC 9113)."""

from collections.abc import Callable, Sequence

from matting_gateway.domain import Buffer
from matting_gateway.http2 import frames
from matting_gateway.http2.control_frames import ControlFrames
from matting_gateway.http2.errors import ConnectionFault, HeadersTooLarge
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
        self._closing = False
        self._patience = Patience(burst=limits.nuisance_burst, per_s=limits.nuisance_per_s, now=now)
        block_bytes = 2 * limits.max_header_bytes
        self._headers = HeaderBlockReader(block_bytes)
        self._sending = Sending(write=write, soon=soon, on_all_sent=self._all_sent)
        self._receivable_bytes = frames.MAX_WINDOW_BYTES
        self.receiving = Receiving(self, max_frame_bytes=limits.max_frame_bytes, max_block_bytes=block_bytes)
        self._control = ControlFrames(self._sending, self._patience, streams=self._streams, lose=self._lose)

    @property
    def stream_count(self) -> int:
        return len(self._streams)

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

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._sending.control(frames.frame(frames.PING, 0, 0, bytes(8)))

    def shut(self) -> None:
        """Take no new streams."""
        if not self._closing:
            self._closing = True
            self._sending.control(frames.goaway(self._control.last_stream_id, frames.NO_ERROR))

    def fail(self, fault: ConnectionFault) -> None:
        """Tell the peer why, and give up all streams (RFC 9113, 5.4.1)."""
        code = fault.code
        if isinstance(fault, HeadersTooLarge) and fault.stream_id > self._control.last_stream_id:
            code = frames.NO_ERROR  # with another the peer may drop the answer that came just before
            self._control.last_stream_id = fault.stream_id
            flags = frames.END_HEADERS | frames.END_STREAM
            self._sending.control(frames.frame(frames.HEADERS, flags, fault.stream_id, self._limits.too_large_answer))
        self._sending.control(frames.goaway(self._control.last_stream_id, code, fault.text))
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
        """Let the peer send at least so many bytes more on a stream, and then at least its first window."""
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
        if stream.receivable_bytes < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        if padding_bytes:
            self._give(stream, padding_bytes)
        return stream

    def body_ended(self, stream: Stream) -> None:
        if not stream.closed:
            stream.remote_ended = True
            if stream.sink is not None:
                stream.sink.ended()

    def headers_came(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """Open a stream, or end one by its trailers."""
        self._sending.check_read()
        fields = self._headers.read(block, stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            if stream.remote_ended:
                raise ConnectionFault(frames.STREAM_CLOSED, "headers after the end of their stream")
            if not ended:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "headers in the middle of a stream")
            self.body_ended(stream)
            return
        if stream_id % 2 == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a stream with an even number")
        if stream_id <= self._control.last_stream_id:
            self._patience.spend()  # trailers of a stream that we have ended, as a rule
            return
        self._control.last_stream_id = stream_id
        if self._closing or len(self._streams) >= self._limits.max_streams:
            self._patience.spend()
            self._sending.control(frames.rst_stream(stream_id, frames.REFUSED_STREAM))
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
        """Take a frame that is neither DATA nor headers."""
        self._sending.check_read()
        self._control.came(kind, flags, stream_id, payload)

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
