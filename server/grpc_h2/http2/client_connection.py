# SPDX-License-Identifier: Apache-2.0
"""The client's side of a connection: streams that we open, and the answers to them (RFC 9113)."""

from typing import Protocol, cast

from grpc_h2.http2.connection import Connection, ConnectionHost
from grpc_h2.http2.control_frames import DEPENDS_ON_ITSELF
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.stream import Body, Sink, Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import MalformedMessage
from grpc_h2.http2.wire.field_rules import check_response, check_trailers
from grpc_h2.http2.wire.header_blocks import Fields

# From here on a connection takes no more requests, so that those which wait for their turn still get a number.
_LAST_STREAM_ID = frames.MAX_STREAM_ID - (1 << 20)


class AnswerSink(Sink, Protocol):
    """Who takes an answer: headers and trailers, or one block that is both, around the body.

    `lost` tells that the connection is gone, or went wrong. Nothing is called after `ended`, `lost` or `broken`.
    """

    def headers(self, fields: Fields) -> None: ...

    def broken(self, code: int, text: str) -> None:
        """Tell that the stream ended with an error of HTTP/2 (RFC 9113, 7), whoever found it."""
        ...


class Request(Stream):
    """A stream of ours. `id` is 0 while it waits to be opened; `answered` once the answer's headers have come."""

    __slots__ = ("answered",)

    def __init__(self, sink: AnswerSink, *, receivable_bytes: int) -> None:
        super().__init__(0, receivable_bytes=receivable_bytes, sendable_bytes=0, remote_ended=False)
        self.sink = sink
        self.answered = False


class ClientConnection(Connection):
    """A connection that we begin.

    Owns the requests that wait for a free stream too. Invariants, beside those of all connections: nothing is
    asked before the peer's settings are known; no more streams are open than the peer allows; requests are opened
    in their order; of a closing connection none waits.

    Args:
        limits: What the connection may cost.
        host: Its transport, and who is told of it.
    """

    def __init__(self, limits: Http2Limits, host: ConnectionHost) -> None:
        super().__init__(limits, host, preface=b"")
        self._waiting: dict[Request, tuple[bytes, Body]] = {}
        self._settled = False
        self._next_id = 1

    @property
    def usable(self) -> bool:
        """Whether it takes requests."""
        return not self._closing and self._next_id < _LAST_STREAM_ID

    # --- the connection's own life ----------------------------------------------------------

    def greet(self) -> None:
        self._sending.control(frames.PREFACE + self._greeting({frames.ENABLE_PUSH: 0}))

    def _last_peer_id(self) -> int:
        return 0

    def _all(self) -> tuple[Stream, ...]:
        return (*super()._all(), *self._waiting)

    # --- for who asks -----------------------------------------------------------------------

    def request(self, sink: AnswerSink, headers: bytes, body: Body) -> Stream:
        """Send a header block and a whole body, as soon as the peer lets another stream be open.

        The body must stay as it is until the sink has heard of the end. The connection must be `usable`.
        """
        stream = Request(sink, receivable_bytes=self._limits.window_bytes)
        if self._settled and not self._waiting and len(self._streams) < self._control.max_streams:
            self._open(stream, headers, body)
        else:
            self._waiting[stream] = headers, body
        return stream

    def _open(self, stream: Request, headers: bytes, body: Body) -> None:
        stream.id = self._control.last_stream_id = self._next_id
        self._next_id += 2
        sending = self._sending
        stream.sendable_bytes = sending.stream_window_bytes
        self._streams[stream.id] = stream
        sending.headers(stream, headers)
        for prefix, data in body:
            sending.body(stream, prefix, data)
        stream.unsent.append(frames.frame(frames.DATA, frames.END_STREAM, stream.id))
        stream.all_sent = True
        sending.pump(stream)

    def _open_waiting(self) -> None:
        while self._waiting and self._settled and len(self._streams) < self._control.max_streams:
            stream = next(iter(self._waiting))
            self._open(stream, *self._waiting.pop(stream))

    def reset(self, stream: Stream, code: int) -> None:
        if stream.id:
            super().reset(stream, code)
        elif not stream.closed:
            self._drop(stream)

    # --- for the way in ---------------------------------------------------------------------

    def headers_came(self, stream_id: int, block: bytes, *, ended: bool, depends_on_itself: bool) -> None:
        """Take headers, interim ones that say nothing yet, or trailers (RFC 9113, 8.1)."""
        if self._sending.unread_bytes:
            self._sending.check_read()
        fields = self._headers.read(block, stream_id)
        stream = cast("Request | None", self._streams.get(stream_id))
        if stream is None:
            self._control.check_known(stream_id, "HEADERS")
            return
        if depends_on_itself:
            self.malformed(stream, DEPENDS_ON_ITSELF)
            return
        try:
            if not self._means_something(stream, fields, ended=ended):
                return
        except MalformedMessage as exc:
            self.malformed(stream, exc.text)
            return
        stream.answered = True
        _sink_of(stream).headers(fields)
        if ended:
            self.body_ended(stream)

    def _means_something(self, stream: Request, fields: Fields, *, ended: bool) -> bool:
        """Look at a header block; tell whether it is more than an interim one.

        Raises:
            MalformedMessage: It is neither that, nor the headers of an answer, nor its trailers.
        """
        if stream.answered:
            if not ended:
                raise MalformedMessage("headers in the middle of an answer")
            check_trailers(fields)
        else:
            stream.announced_bytes = check_response(fields)
            if fields[0][1].startswith(b"1"):
                if ended:
                    raise MalformedMessage("an interim answer that is the last")
                stream.announced_bytes = None
                return False
        if ended and stream.announced_bytes:
            raise MalformedMessage("a body that is not as long as its content-length")
        return True

    def data_comes(self, stream_id: int, length_bytes: int, *, padding_bytes: int, ended: bool) -> Stream | None:
        stream = super().data_comes(stream_id, length_bytes, padding_bytes=padding_bytes, ended=ended)
        if stream is not None and not cast("Request", stream).answered:
            self.malformed(stream, "DATA before the headers of its answer")
            return None
        return stream

    def _late_data(self, stream_id: int, byte_count: int) -> None:
        """Do nothing: it was on its way as the stream was ended, by an answer or by us."""

    def _over(self, stream_id: int) -> None:
        """Do nothing: of streams that are over nothing is remembered."""

    def body_ended(self, stream: Stream) -> None:
        if stream.closed:
            return
        stream.remote_ended = True
        sink = _sink_of(stream)
        if stream.unsent:  # nothing more of the request is wanted (RFC 9113, 8.1)
            self._sending.control(frames.rst_stream(stream.id, frames.CANCEL))
        self._drop(stream)
        sink.ended()

    def ping_acknowledged(self, payload: bytes) -> None:
        """Do nothing: that it has come is all that matters."""

    def settings_came(self) -> None:
        self._settled = True
        self._open_waiting()

    def went_away(self, last_stream_id: int, code: int) -> None:
        """Ask nothing more; what was asked later than the peer takes it has not been done (RFC 9113, 6.8)."""
        self._closing = True
        for stream in self._all():
            if not 0 < stream.id <= last_stream_id:
                self.lose(stream, f"the peer went away with code {code}")
        self._look_whether_drained()

    # --- ends of streams --------------------------------------------------------------------

    def _break(self, stream: Stream, code: int, text: str) -> None:
        if not stream.closed:
            sink = _sink_of(stream)
            self._drop(stream)
            sink.broken(code, text)

    def _all_sent(self, stream: Stream) -> None:
        """Do nothing: the answer ends the stream."""

    def _drop(self, stream: Stream) -> None:
        super()._drop(stream)
        self._waiting.pop(cast("Request", stream), None)
        if not self._closing:
            self._open_waiting()
        if not self.usable:
            self._look_whether_drained()

    def _look_whether_drained(self) -> None:
        if not self._streams and not self._waiting:
            self._host.on_drained()


def _sink_of(stream: Stream) -> AnswerSink:
    """Return the sink of an open stream, which `Request` was made with."""
    return cast("AnswerSink", stream.sink)
