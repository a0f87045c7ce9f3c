# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 connections in memory, of which the server's side is here, and the independent library h2 as its client."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
from grpc_h2.buffers import Buffer
from grpc_h2.http2.connection import Connection, ConnectionHost
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.server_connection import ServerConnection
from grpc_h2.http2.stream import Stream
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault, FaultKind
from grpc_h2.http2.wire.header_blocks import Fields, write_fields

REQUEST: Fields = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test/Take"),
    (b":authority", b"localhost"),
)
ANSWER = write_fields([(b":status", b"200")])
TRAILERS = write_fields([(b"grpc-status", b"0")])
_ROOM_BYTES = 20_000


def headers_frame(stream_id: int, *, ends: bool = False) -> bytes:
    """Return the headers of a request that no table remembers."""
    flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
    return frames.frame(frames.HEADERS, flags, stream_id, write_fields(REQUEST))


class RecordingSink:
    """Writes down what comes on a stream; with `in_place` it offers room for it."""

    def __init__(self, *, in_place: bool) -> None:
        self._room = memoryview(bytearray(_ROOM_BYTES)) if in_place else None
        self.body = bytearray()
        self.has_ended = False
        self.lost_texts: list[str] = []

    def room(self) -> memoryview | None:
        return self._room

    def wrote(self, byte_count: int) -> None:
        if self._room is None:
            raise AssertionError("nobody was offered room")
        self.feed(self._room[:byte_count])

    def feed(self, data: memoryview) -> None:
        if self.has_ended or self.lost_texts:
            raise AssertionError("body after its end")
        self.body += data

    def ended(self) -> None:
        if self.has_ended or self.lost_texts:
            raise AssertionError("a second end")
        self.has_ended = True

    def lost(self, text: str) -> None:
        if self.lost_texts:
            raise AssertionError("lost twice")
        self.lost_texts.append(text)


class Side(ABC):
    """One side of a connection without a transport. Owns what it has sent."""

    def __init__(self, *, in_place: bool) -> None:
        self._in_place = in_place
        self._out = bytearray()
        self._later: list[Callable[[], None]] = []
        self.now_s = 0.0
        self.faults: list[tuple[FaultKind, str]] = []
        self.drained_count = 0
        self.connection: Connection

    def host(self) -> ConnectionHost:
        """Return what the connection is given of this."""
        return ConnectionHost(self._write, self._later.append, lambda: self.now_s, self._fault, self._drained)

    def _fault(self, kind: FaultKind, text: str) -> None:
        self.faults.append((kind, text))

    def _drained(self) -> None:
        self.drained_count += 1

    def _write(self, buffers: Sequence[Buffer]) -> None:
        for buffer in buffers:
            self._out += buffer

    def receive(self, data: bytes) -> None:
        """Take bytes as a transport hands them over: in place where there is room, else as they are."""
        receiving, at = self.connection.receiving, 0
        while at < len(data):
            room = receiving.room()
            if room is None:
                receiving.take(memoryview(data)[at : at + (64 << 10)])
                at += 64 << 10
                continue
            size = min(len(room), len(data) - at)
            room[:size] = data[at : at + size]
            receiving.wrote(size)
            at += size

    def sent(self) -> bytes:
        """Return what has been sent since it was last asked for, the loop's next turn included."""
        while self._later:
            later, self._later[:] = self._later[:], []
            for act in later:
                act()
        out = bytes(self._out)
        self._out.clear()
        return out

    def sent_frames(self) -> list[tuple[int, int, int, bytes]]:
        """Return kind, flags, stream and payload of what has been sent, but for the preface."""
        data, found, at = self.sent().removeprefix(frames.PREFACE), [], 0
        while at < len(data):
            length, kind, flags, stream_id = frames.read_header(data, at)
            at += frames.HEADER_BYTES + length
            found.append((kind, flags, stream_id, data[at - length : at]))
        return found

    @abstractmethod
    def all_sinks(self) -> list[RecordingSink]:
        """Return who takes what comes on its streams."""

    def fault_of(self, data: bytes) -> ConnectionFault | None:
        """Take bytes, and return what is wrong with them."""
        try:
            self.receive(data)
        except ConnectionFault as fault:
            self.connection.fail(fault)
            return fault
        return None


class ServerSide(Side):
    """A server's side. Owns it, and what was asked of its streams."""

    connection: ServerConnection

    def __init__(self, limits: Http2Limits | None = None, *, in_place: bool = False) -> None:
        super().__init__(in_place=in_place)
        self.streams: dict[int, Stream] = {}
        self.sinks: dict[int, RecordingSink] = {}
        self.fields: dict[int, Fields] = {}
        self.connection = ServerConnection(limits or Http2Limits(), self.host(), open_stream=self._open)

    def _open(self, _connection: ServerConnection, stream: Stream, fields: Fields) -> RecordingSink:
        self.streams[stream.id], self.fields[stream.id] = stream, fields
        sink = self.sinks[stream.id] = RecordingSink(in_place=self._in_place)
        return sink

    def all_sinks(self) -> list[RecordingSink]:
        return list(self.sinks.values())

    def greeted(self, data: bytes = b"", settings: dict[int, int] | None = None) -> "ServerSide":
        """Take a preface, settings and then `data`."""
        self.receive(frames.PREFACE + frames.settings(settings or {}) + data)
        return self

    def answer(self, stream_id: int, body: bytes = b"", on_sent: Callable[[], None] | None = None) -> None:
        pieces = [(b"", body)] if body else []
        self.connection.send(self.streams[stream_id], headers=ANSWER, body=pieces, trailers=TRAILERS, on_sent=on_sent)


class PeerEvents:
    """What h2, as the peer, has told of. Owns the events."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def bodies(self) -> dict[int, bytes]:
        """Return what the peer has received of each stream."""
        found: dict[int, bytes] = {}
        for event in self.of(h2.events.DataReceived):
            found[event.stream_id] = found.get(event.stream_id, b"") + event.data
        return found

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Exchange(PeerEvents, ABC):
    """One side of ours, and h2 as the other, which reads all it is sent. Owns both.

    Args:
        ours: Our side.
        theirs: h2's, whichever that is.
        acknowledges: Whether h2 opens windows again for what it has read.
    """

    def __init__(self, ours: Side, theirs: h2.connection.H2Connection, *, acknowledges: bool) -> None:
        super().__init__()
        self.ours = ours
        self.theirs = theirs
        self._acknowledges = acknowledges

    def exchange(self) -> None:
        """Bring everything to the other side until neither has anything to say."""
        while True:
            there = self.theirs.data_to_send()
            self.ours.receive(there)
            back = self.ours.sent()
            for event in self.theirs.receive_data(back):
                self.events.append(event)
                if self._acknowledges and isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.theirs.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if not there and not back:
                return

    @abstractmethod
    def begin(self) -> RecordingSink:
        """Open the first stream; return who takes what h2 sends on it."""

    @abstractmethod
    def converse(self, body: bytes, *, padding: int | None) -> RecordingSink:
        """Have both sides send a body on the first stream, h2 with padding, and end it; return who took h2's."""

    @abstractmethod
    def reset(self) -> None:
        """Have our side reset the first stream."""

    @property
    @abstractmethod
    def blocks(self) -> list[Fields]:
        """What h2's header blocks on the first stream were read as."""


class Pair(Exchange):
    """A server's side and a client of h2's that reads all it is sent. Owns both.

    Args:
        limits: The server's.
        in_place: Whether bodies are received in place.
        acknowledges: Whether the client opens windows again for what it has read.
    """

    def __init__(self, limits: Http2Limits | None = None, *, in_place: bool = False, acknowledges: bool = True) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.client = h2.connection.H2Connection(config)
        self.server = ServerSide(limits, in_place=in_place)
        super().__init__(self.server, self.client, acknowledges=acknowledges)
        self.server.connection.greet()
        self.client.initiate_connection()
        self.exchange()

    def open(self, stream_id: int, *, ends: bool = False) -> RecordingSink:
        self.client.send_headers(stream_id, list(REQUEST), end_stream=ends)
        self.exchange()
        return self.server.sinks[stream_id]

    def begin(self) -> RecordingSink:
        return self.open(1)

    def converse(self, body: bytes, *, padding: int | None) -> RecordingSink:
        sink = self.begin()
        self.server.connection.let_send(self.server.streams[1], 1 << 20)
        self.exchange()
        for at in range(0, len(body), 16_000):
            self.client.send_data(1, body[at : at + 16_000], pad_length=padding)
        self.client.end_stream(1)
        self.exchange()
        self.server.answer(1, body)
        self.exchange()
        return sink

    def reset(self) -> None:
        self.server.connection.reset(self.server.streams[1], frames.CANCEL)

    @property
    def blocks(self) -> list[Fields]:
        return [self.server.fields[1]]
