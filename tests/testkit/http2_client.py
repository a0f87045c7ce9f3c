# SPDX-License-Identifier: Apache-2.0
"""The client's side of an HTTP/2 connection in memory, and the independent library h2 as its server."""

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from grpc_h2.http2.client_connection import ClientConnection
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.stream import Body, Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import Fields, write_fields

from testkit.http2_pair import REQUEST, Exchange, RecordingSink, Side

REQUEST_BLOCK = write_fields(REQUEST)
HEADERS: Fields = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS: Fields = ((b"grpc-status", b"0"),)
CLIENT_LIMITS = Http2Limits(window_bytes=frames.MAX_WINDOW_BYTES, connection_window_bytes=frames.MAX_WINDOW_BYTES)


def block_frame(stream_id: int, fields: Fields, *, ends: bool = False) -> bytes:
    """Return headers or trailers that no table remembers."""
    flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
    return frames.frame(frames.HEADERS, flags, stream_id, write_fields(fields))


def answer_frames(stream_id: int, body: bytes) -> bytes:
    """Return a whole answer."""
    data = frames.frame(frames.DATA, 0, stream_id, body)
    return block_frame(stream_id, HEADERS) + data + block_frame(stream_id, TRAILERS, ends=True)


class RecordingAnswer(RecordingSink):
    """Writes down an answer, and checks that nothing is told after its end."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__(in_place=in_place)
        self.blocks: list[Fields] = []
        self.codes: list[int] = []

    def headers(self, fields: Fields) -> None:
        if self.is_over:
            raise AssertionError("headers after the end")
        self.blocks.append(fields)

    def broken(self, code: int, text: str) -> None:
        if self.is_over:
            raise AssertionError("a second end")
        self.codes.append(code)

    def lost(self, text: str) -> None:
        if self.is_over:
            raise AssertionError("a second end")
        super().lost(text)

    @property
    def is_over(self) -> bool:
        return self.has_ended or bool(self.lost_texts) or bool(self.codes)


class ClientSide(Side):
    """A client's side. Owns it, its requests and who takes their answers, in their order."""

    connection: ClientConnection

    def __init__(self, limits: Http2Limits | None = None, *, in_place: bool = False) -> None:
        super().__init__(in_place=in_place)
        self.sinks: list[RecordingAnswer] = []
        self.streams: list[Stream] = []
        self.connection = ClientConnection(limits or CLIENT_LIMITS, self.host())
        self.connection.greet()

    def all_sinks(self) -> list[RecordingSink]:
        return list(self.sinks)

    def greeted(self, settings: dict[int, int] | None = None) -> "ClientSide":
        """Take the server's settings."""
        self.receive(frames.settings(settings or {}))
        return self

    def ask(self, *pieces: bytes) -> RecordingAnswer:
        """Ask with a body of these pieces."""
        sink = RecordingAnswer(in_place=self._in_place)
        self.sinks.append(sink)
        body: Body = [(b"", piece) for piece in pieces]
        self.streams.append(self.connection.request(sink, REQUEST_BLOCK, body))
        return sink


class ServedPair(Exchange):
    """A client's side and a server of h2's. Owns both.

    Args:
        settings: The server's.
        acknowledges: Whether the server opens windows again for what it has read.
    """

    def __init__(
        self,
        settings: dict[Any, int] | None = None,
        *,
        in_place: bool = False,
        acknowledges: bool = True,
    ) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.server = h2.connection.H2Connection(config)
        self.client = ClientSide(in_place=in_place)
        super().__init__(self.client, self.server, acknowledges=acknowledges)
        if settings:
            self.server.local_settings = h2.settings.Settings(client=False, initial_values=settings)
        self.server.initiate_connection()
        self.exchange()

    def begin(self) -> RecordingAnswer:
        answer = self.client.ask(b"x")
        self.exchange()
        return answer

    def converse(self, body: bytes, *, padding: int | None) -> RecordingAnswer:
        answer = self.client.ask(body[:4], body[4:-4], b"", body[-4:])
        self.exchange()
        self.answer(1, body, padding=padding)
        return answer

    def reset(self) -> None:
        self.client.connection.reset(self.client.streams[0], frames.CANCEL)

    @property
    def blocks(self) -> list[Fields]:
        return self.client.sinks[0].blocks

    def answer(self, stream_id: int, body: bytes, *, padding: int | None = None, chunk_bytes: int = 16_000) -> None:
        """Have the server answer."""
        self.server.send_headers(stream_id, list(HEADERS))
        for at in range(0, len(body), chunk_bytes):
            self.server.send_data(stream_id, body[at : at + chunk_bytes], pad_length=padding)
            self.exchange()
        self.server.send_headers(stream_id, list(TRAILERS), end_stream=True)
        self.exchange()
