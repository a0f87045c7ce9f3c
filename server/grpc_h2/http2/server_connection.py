# SPDX-License-Identifier: Apache-2.0
"""The server's side of a connection: streams that the peer opens, and what they are answered (RFC 9113)."""

from collections.abc import Callable

from grpc_h2.http2.closed_streams import ClosedStreams
from grpc_h2.http2.connection import Connection, ConnectionHost
from grpc_h2.http2.control_frames import DEPENDS_ON_ITSELF
from grpc_h2.http2.draining import Draining
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.stream import Body, Message, Sink, Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault, FaultKind, HeadersTooLarge, MalformedMessage
from grpc_h2.http2.wire.field_rules import check_request, check_trailers
from grpc_h2.http2.wire.header_blocks import Fields

OpenStream = Callable[["ServerConnection", Stream, Fields], Sink]


class ServerConnection(Connection):
    """A connection that a client began.

    Owns what is remembered of streams that are over, and how far draining has come. Invariants, beside those of all
    connections: streams have odd, rising numbers; at most `max_streams` are open; a stream ends in order by having
    sent the last of its answer.

    Args:
        limits: What the connection may cost.
        host: Its transport, and who is told of it.
        open_stream: Told of each new stream with its headers; returns who takes its body.
    """

    def __init__(self, limits: Http2Limits, host: ConnectionHost, *, open_stream: OpenStream) -> None:
        super().__init__(limits, host, preface=frames.PREFACE)
        self._open_stream = open_stream
        self._draining = Draining(self._sending.control)
        self._over_early = ClosedStreams(limits.max_streams)
        # The fields that were looked at last: a caller's are the same object for as long as they stay the same.
        self._checked: tuple[Fields, int | None] = ((), None)

    # --- the connection's own life ----------------------------------------------------------

    def greet(self) -> None:
        self._sending.control(self._greeting({frames.MAX_CONCURRENT_STREAMS: self._limits.max_streams}))

    def _last_peer_id(self) -> int:
        return self._control.last_stream_id

    def begin_drain(self, on_told: Callable[[], None]) -> None:
        """Ask the peer to open no more streams; until it has heard that, those that it opens are served (6.8).

        Args:
            on_told: Told once the peer has answered, or is not waited for any longer (`finish_drain`), or is gone.
        """
        if self._closing:
            on_told()
            return
        self._draining.announce(on_told)

    def finish_drain(self) -> None:
        """Take no new streams, and close with the last that is open."""
        on_told = self._draining.leave()
        if on_told is not None:
            self.shut()
            self._look_whether_drained()
            on_told()

    def ping_acknowledged(self, payload: bytes) -> None:
        if self._draining.is_answered_by(payload):
            self.finish_drain()

    def _look_whether_drained(self) -> None:
        if self._draining.leaving and not self._streams:
            self._host.soon(self._host.on_drained)

    def end(self, text: str) -> None:
        on_told = self._draining.abandon()
        super().end(text)
        if on_told is not None:
            on_told()

    def fail(self, fault: ConnectionFault) -> None:
        if isinstance(fault, HeadersTooLarge) and fault.stream_id > self._control.last_stream_id:
            self._control.last_stream_id = fault.stream_id
            flags = frames.END_HEADERS | frames.END_STREAM
            self._sending.block(frames.frame(frames.HEADERS, flags, fault.stream_id, self._limits.too_large_answer))
            # With an error the peer may drop the answer that came just before.
            fault = ConnectionFault(frames.NO_ERROR, fault.text, fault.kind)
        super().fail(fault)

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

    def headers_came(self, stream_id: int, block: bytes, *, ended: bool, depends_on_itself: bool) -> None:
        """Open a stream, or end one by its trailers."""
        if self._sending.unread_bytes:
            self._sending.check_read()
        fields = self._headers.read(block, stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._trailers_came(stream, fields, ended=ended, depends_on_itself=depends_on_itself)
            return
        last_id = self._control.last_stream_id
        if stream_id % 2 == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a stream with an even number")
        if stream_id <= last_id:
            self._late_headers(stream_id)
            return
        if stream_id > last_id + 2:
            self._over_early.skip(last_id, stream_id)
        self._control.last_stream_id = stream_id
        if self._closing or len(self._streams) >= self._limits.max_streams:
            self._limiter.spend()
            self._send_reset(stream_id, frames.REFUSED_STREAM)
            return
        try:
            announced_bytes = self._announced_bytes(fields, ended=ended, depends_on_itself=depends_on_itself)
        except MalformedMessage as exc:
            self._limiter.spend()
            self._host.on_fault(FaultKind.MALFORMED_MESSAGE, exc.text)
            self._send_reset(stream_id, frames.PROTOCOL_ERROR)
            return
        self._begin(stream_id, fields, announced_bytes, ended=ended)

    def _announced_bytes(self, fields: Fields, *, ended: bool, depends_on_itself: bool) -> int | None:
        """Return the length of the body that is to come, where a request tells it.

        Raises:
            MalformedMessage: It is no request.
        """
        checked, announced_bytes = self._checked
        if checked is not fields:
            announced_bytes = check_request(fields)
            self._checked = fields, announced_bytes
        if depends_on_itself:
            raise MalformedMessage(DEPENDS_ON_ITSELF)
        if ended and announced_bytes:
            raise MalformedMessage("a body that is not as long as its content-length")
        return announced_bytes

    def _begin(self, stream_id: int, fields: Fields, announced_bytes: int | None, *, ended: bool) -> None:
        stream = Stream(
            stream_id,
            receivable_bytes=self._windows.stream_bytes,
            sendable_bytes=self._sending.stream_window_bytes,
            remote_ended=ended,
        )
        stream.announced_bytes = announced_bytes
        self._streams[stream_id] = stream
        sink = self._open_stream(self, stream, fields)
        stream.sink = None if stream.closed else sink
        if ended and stream.sink is not None:
            stream.sink.ended()

    def _trailers_came(self, stream: Stream, fields: Fields, *, ended: bool, depends_on_itself: bool) -> None:
        if stream.remote_ended:
            self.stream_error(stream, frames.STREAM_CLOSED, "headers after the end of their stream")
        elif not ended:
            self.malformed(stream, "headers in the middle of a stream")
        elif depends_on_itself:
            self.malformed(stream, DEPENDS_ON_ITSELF)
        elif stream.announced_bytes:
            self.malformed(stream, "a body that is not as long as its content-length")
        else:
            try:
                check_trailers(fields)
            except MalformedMessage as exc:
                self.malformed(stream, exc.text)
            else:
                self.body_ended(stream)

    def _late_headers(self, stream_id: int) -> None:
        """Take headers of a stream that is over: trailers, as a rule, that were on their way as we ended it."""
        if not self._over_early.expects(stream_id):
            if self._over_early.was_skipped(stream_id):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a stream with a lower number than the last")
            raise ConnectionFault(frames.STREAM_CLOSED, "headers on a stream that is over")
        self._limiter.spend()

    def _late_data(self, stream_id: int, byte_count: int) -> None:
        if not self._over_early.data_came(stream_id, byte_count):
            self._limiter.spend()
            self._host.on_fault(FaultKind.STREAM_CLOSED, "DATA on a stream that is over")
            self._sending.control(frames.rst_stream(stream_id, frames.STREAM_CLOSED))

    def settings_came(self) -> None:
        """Do nothing: streams are not ours to open."""

    def went_away(self, last_stream_id: int, code: int) -> None:
        """Do nothing: a client that goes sends nothing new, and what it asked for is still answered."""

    # --- ends of streams --------------------------------------------------------------------

    def _over(self, stream_id: int) -> None:
        self._over_early.forget(stream_id)

    def _send_reset(self, stream_id: int, code: int, stream: Stream | None = None) -> None:
        super()._send_reset(stream_id, code, stream)
        if stream is None or not stream.remote_ended:
            self._over_early.add(stream_id, self._windows.most_still_to_come(stream))

    def _break(self, stream: Stream, code: int, text: str) -> None:
        del code
        self.lose(stream, text)

    def _all_sent(self, stream: Stream) -> None:
        if not stream.closed:
            if not stream.remote_ended:  # nothing more of its body is wanted (RFC 9113, 8.1)
                self._send_reset(stream.id, frames.NO_ERROR, stream)
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        super()._drop(stream)
        if self._draining.leaving:
            self._look_whether_drained()
