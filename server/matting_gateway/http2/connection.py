# SPDX-License-Identifier: Apache-2.0
"""The server's side of a connection: streams that the peer opens, and what they are answered (RFC 9113)."""

from collections.abc import Callable, Sequence

from matting_gateway.domain import Buffer
from matting_gateway.http2 import frames
from matting_gateway.http2.errors import ConnectionFault, HeadersTooLarge
from matting_gateway.http2.header_blocks import Fields
from matting_gateway.http2.limits import Http2Limits
from matting_gateway.http2.stream import Body, Message, Sink, Stream
from matting_gateway.http2.streams import Streams

OpenStream = Callable[["Connection", Stream, Fields], Sink]


class Connection(Streams):
    """A connection that a client began.

    Invariants, beside those of all connections: streams have odd, rising numbers; at most
    `max_streams` are open; a stream ends in order by having sent the last of its answer.

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
        super().__init__(limits, preface=frames.PREFACE, write=write, soon=soon, now=now)
        self._open_stream = open_stream

    # --- the connection's own life ----------------------------------------------------------

    def greet(self) -> None:
        self._sending.control(self._greeting({frames.MAX_CONCURRENT_STREAMS: self._limits.max_streams}))

    def shut(self) -> None:
        if not self._closing:
            self._closing = True
            self._sending.control(frames.goaway(self._control.last_stream_id, frames.NO_ERROR))

    def fail(self, fault: ConnectionFault) -> None:
        code = fault.code
        if isinstance(fault, HeadersTooLarge) and fault.stream_id > self._control.last_stream_id:
            code = frames.NO_ERROR  # with another the peer may drop the answer that came just before
            self._control.last_stream_id = fault.stream_id
            flags = frames.END_HEADERS | frames.END_STREAM
            self._sending.control(frames.frame(frames.HEADERS, flags, fault.stream_id, self._limits.too_large_answer))
        self._sending.control(frames.goaway(self._control.last_stream_id, code, fault.text))
        self.end(fault.text)

    # --- for who serves a stream ------------------------------------------------------------

    def send(
        self,
        stream: Stream,
        *,
        headers: bytes = b"",
        body: Body = (),
        trailers: bytes = b"",
        on_sent: Callable[[], None] | None = None,
        borrowed: bool = False,
    ) -> None:
        """Send header block, a piece of the body and trailers of a stream, each if given; on a closed stream nothing.

        `on_sent` is called once all of it has been written, and not if the stream is lost before. Of a body that is
        `borrowed`, what the peer does not let us send at once is copied, as its memory is wanted elsewhere.
        """
        if stream.closed:
            return
        sending = self._sending
        if headers:
            sending.headers(stream, headers)
        for prefix, data in body:
            sending.body(stream, prefix, data)
        if trailers:
            sending.headers(stream, trailers, last=True)
        if on_sent is not None:
            stream.unsent.append(on_sent)
        sending.pump(stream)
        if borrowed:
            for part in stream.unsent:
                if isinstance(part, Message):
                    part.keep()

    # --- for the way in ---------------------------------------------------------------------

    def body_ended(self, stream: Stream) -> None:
        if not stream.closed:
            stream.remote_ended = True
            if stream.sink is not None:
                stream.sink.ended()

    def headers_came(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """Open a stream, or end one by its trailers."""
        if self._sending.unread_bytes:
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
            receivable_bytes=self._window_bytes,
            sendable_bytes=self._sending.stream_window_bytes,
            remote_ended=ended,
        )
        self._streams[stream_id] = stream
        sink = self._open_stream(self, stream, fields)
        stream.sink = None if stream.closed else sink
        if ended and stream.sink is not None:
            stream.sink.ended()

    def settings_came(self) -> None:
        """Do nothing: streams are not ours to open."""

    def went_away(self, last_stream_id: int, code: int) -> None:
        """Do nothing: a client that goes sends nothing new, and what it asked for is still answered."""

    # --- ends of streams --------------------------------------------------------------------

    def was_reset(self, stream: Stream, code: int) -> None:
        del code
        self.lose(stream, "the caller gave up")

    def _all_sent(self, stream: Stream) -> None:
        if not stream.closed:
            if not stream.remote_ended:  # nothing more of its body is wanted (RFC 9113, 8.1)
                self._sending.control(frames.rst_stream(stream.id, frames.NO_ERROR))
            self._close(stream)
