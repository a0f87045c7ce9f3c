# SPDX-License-Identifier: Apache-2.0
"""From a stream's headers to the call that is served."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import grpc

from grpc_h2.http2.server_connection import OpenStream, ServerConnection
from grpc_h2.http2.server_protocol import ServerProtocol
from grpc_h2.http2.stream import Sink, Stream
from grpc_h2.http2.wire.header_blocks import Fields
from grpc_h2.server.bare_call import USUAL_HEAD_BYTES, BareCall, CallResources
from grpc_h2.server.call import ServerCall
from grpc_h2.server.dispatch import Dispatch
from grpc_h2.server.metadata import (
    BadMetadataError,
    CallHead,
    MetadataTooLargeError,
    NotGrpcError,
    read_head,
    trailers_only_block,
)
from grpc_h2.server.not_a_call import Discard, NotACall
from grpc_h2.server.peer import Peer, peer_of

_MAX_REMEMBERED_HEADS = 16
# A call with less time than that has none left once it is here; clients say so of a deadline that has passed.
_NO_TIME_S = 1e-6
_EXPIRED = trailers_only_block(grpc.StatusCode.DEADLINE_EXCEEDED.value[0], "Deadline Exceeded")


class Calls:
    """The calls of a server.

    Owns those under way, and the methods that no task serves. Invariant: `idle` is set exactly while there are none.

    Args:
        resources: What calls share.
        interceptors: Asked once for each method, the first outermost.
        max_header_bytes: The most of headers that a call may have (RFC 9113, 6.5.2).
        max_unread_bytes: What a request may send that is none of gRPC's.
        network_of: Tells whose calls a peer's count as; None: it stands for many.
    """

    def __init__(
        self,
        resources: CallResources,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        *,
        max_header_bytes: int,
        max_unread_bytes: int,
        network_of: Callable[[str], str | None],
    ) -> None:
        self._resources = resources
        self.dispatch = Dispatch(interceptors)
        self._max_header_bytes = max_header_bytes
        self._max_unread_bytes = max_unread_bytes
        self._network_of = network_of
        self.methods: dict[str, Callable[[BareCall], None]] = {}
        self._open: set[BareCall] = set()
        self.idle = asyncio.Event()
        self.idle.set()

    def __len__(self) -> int:
        return len(self._open)

    def opener(self, protocol: ServerProtocol) -> OpenStream:
        """Return what opens the streams of one connection. Callers send the same headers with every call."""
        heads: dict[Fields, CallHead] = {}
        peers: list[Peer] = []

        def open_stream(connection: ServerConnection, stream: Stream, fields: Fields) -> Sink:
            if not peers:
                peer = peer_of(protocol.transport)
                peers.append(replace(peer, network=self._network_of(peer.name)))
            head = heads.get(fields)
            if head is None:
                try:
                    head = read_head(fields, max_bytes=self._max_header_bytes)
                except NotGrpcError as exc:
                    answer = functools.partial(connection.send, stream, trailers=exc.headers)
                    return NotACall(answer, most_bytes=self._max_unread_bytes)
                except BadMetadataError as exc:
                    connection.send(stream, trailers=refusal(exc))
                    return Discard()
                if len(heads) < _MAX_REMEMBERED_HEADS:
                    heads[fields] = head
            if head.timeout_s is not None and head.timeout_s < _NO_TIME_S:
                connection.send(stream, trailers=_EXPIRED)
                return Discard()
            return self._begin(connection, stream, head, peers[0])

        return open_stream

    def _begin(self, connection: ServerConnection, stream: Stream, head: CallHead, peer: Peer) -> Sink:
        serve = self.methods.get(head.method)
        call = (ServerCall if serve is None else BareCall)(connection, stream, head, peer, self._resources)
        self._open.add(call)
        self.idle.clear()
        call.add_done_callback(self._ended)
        if isinstance(call, ServerCall):
            call.serve_by(asyncio.get_running_loop().create_task(self.dispatch.serve(call)))
        elif serve is not None:
            serve(call)
        if head.byte_count > USUAL_HEAD_BYTES:
            call.hold_head()
        return call.inbox

    def _ended(self, call: BareCall) -> None:
        self._open.discard(call)
        if not self._open:
            self.idle.set()


def refusal(exc: BadMetadataError) -> bytes:
    """Return the block that answers a call whose metadata are no good."""
    too_large = isinstance(exc, MetadataTooLargeError)
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if too_large else grpc.StatusCode.INVALID_ARGUMENT
    return trailers_only_block(code.value[0], str(exc))
