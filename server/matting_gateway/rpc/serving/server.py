# SPDX-License-Identifier: Apache-2.0
"""The gRPC server: its limits against abuse, reflection."""

import math
from collections.abc import Callable, Sequence

import grpc
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.server.reading_time import ReadingTime
from grpc_h2.server.server import GrpcServer, OnPeerFault, unheard
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION_SERVICE = reflection.SERVICE_NAME


def make_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    *,
    max_message_bytes: int,
    max_connection_streams: int,
    reading: ReadingTime | None = None,
    network_of: Callable[[str], str | None] = lambda _peer: None,
    refused: Callable[[int], object] = lambda _byte_count: None,
    much_is_free: Callable[[], object] = lambda: None,
    on_fault: OnPeerFault = unheard,
    report: Callable[[], bytes] = bytes,
    max_connection_age_s: float = 0.0,
    max_connection_age_grace_s: float = 0.0,
) -> GrpcServer:
    """Return a server without services and ports.

    Args:
        interceptors: Asked once for each method.
        max_message_bytes: The most that a message may have.
        max_connection_streams: How many calls one connection may have open.
        network_of: Tells whose calls a peer's count as; None: it stands for many.
        refused: Told of bytes of calls that were not let in.
        much_is_free: Told where much was held of calls without permits, and is free now.
        on_fault: Told of each fault of the protocol: its kind, what it was, and the peer as grpc names it.
        report: Returns what goes with every status beside the call's own, as a part of a header block.
        max_connection_age_s: A connection so old is sent elsewhere; 0: it may grow as old as it likes.
        max_connection_age_grace_s: How long its calls have to end then; 0: as long as they take.
    """
    return GrpcServer(
        interceptors,
        max_message_bytes=max_message_bytes,
        limits=Http2Limits(
            max_streams=max_connection_streams,
            max_age_s=max_connection_age_s or math.inf,
            max_age_grace_s=max_connection_age_grace_s or math.inf,
        ),
        reading=reading,
        network_of=network_of,
        refused=refused,
        much_is_free=much_is_free,
        on_fault=on_fault,
        report=report,
    )


def add_reflection(server: GrpcServer, services: Sequence[str]) -> None:
    """Tell callers' tools which services there are."""
    servicer = ReflectionServicer((*services, HEALTH_SERVICE, REFLECTION_SERVICE))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
