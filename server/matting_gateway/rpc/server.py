# SPDX-License-Identifier: Apache-2.0
"""The grpc.aio server: its limits against abuse, its ports, reflection."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION_SERVICE = reflection.SERVICE_NAME
_MAX_METADATA_BYTES = 16 << 10


def make_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], *, max_message_bytes: int, max_connection_streams: int
) -> grpc.aio.Server:
    """Return a server without services and ports.

    The options bound what one connection can cost: messages, metadata, streams, pings.
    """
    options = (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * _MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", max_connection_streams),
        # Calls that came and were not accepted yet, of about 20 KiB each. Past the first number gRPC cancels some at
        # random, honest ones too, past the second all; by default already a thousand, which one flood of streams fills.
        ("grpc.server.max_pending_requests", 12_288),
        ("grpc.server.max_pending_requests_hard_limit", 16_384),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 5),
        ("grpc.http2.max_frame_size", 1 << 20),
        ("grpc.server_handshake_timeout_ms", 10_000),
        # Else windows grow with a quick connection, and each caller who waits to be admitted leaves megabytes in
        # gRPC's buffers, which no permit counts. A message that is being read gets all the room it needs anyway.
        ("grpc.http2.bdp_probe", 0),
        # Larger reads than the default: less CPU time for photos and tensors. Still larger ones would save a little
        # more, but each idle connection would hold a buffer of that size.
        ("grpc.experimental.tcp_read_chunk_size", 1 << 17),
        ("grpc.experimental.tcp_min_read_chunk_size", 1 << 16),
        ("grpc.experimental.tcp_max_read_chunk_size", 1 << 20),
    )
    return grpc.aio.server(
        interceptors=tuple(interceptors), options=options, compression=grpc.Compression.NoCompression
    )


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Tell callers' tools which services there are."""
    reflection.enable_server_reflection((*services, HEALTH_SERVICE, REFLECTION_SERVICE), server)


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    """Listen on HOST:PORT or unix:PATH and return the port (port 0 takes a free one; 1 for a socket).

    Raises:
        OSError: The address cannot be listened on.
    """
    try:
        if credentials is None or address.startswith("unix:"):
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as exc:
        raise OSError(f"Cannot listen on {address}: the port is taken, or the address is not of this machine.") from exc
    if port == 0:
        raise OSError(f"Cannot listen on {address}.")
    return port
