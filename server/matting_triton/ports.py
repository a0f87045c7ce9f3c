# SPDX-License-Identifier: Apache-2.0
"""Loopback ports: held, so that nobody takes one before Triton binds it or across restarts, and asked for readiness."""

import socket
from collections.abc import Callable

import grpc

from matting_triton.errors import PortTakenError

LOOPBACK = "127.0.0.1"
_METHOD = "/inference.GRPCInferenceService/ServerReady"
# ServerReadyResponse { bool ready = 1; } with ready = true, in protobuf's wire format.
_READY = b"\x08\x01"


class HeldPort:
    """A TCP port of the loopback interface that is ours until closed.

    Owns a socket that is bound and never listens: it gets no connections, and keeps everybody out who does not ask for
    SO_REUSEPORT, which Triton does (`--reuse-grpc-port`).

    Args:
        port: The port wanted; 0 for any free one.

    Raises:
        PortTakenError: Somebody listens there, or the port may not be bound.
    """

    def __init__(self, port: int = 0) -> None:
        if port:
            # Without SO_REUSEPORT first: with it, a foreign listener that shares its port would go unnoticed.
            _bind(port, socket.SO_REUSEADDR).close()
        self._socket = _bind(port, socket.SO_REUSEPORT)
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def __repr__(self) -> str:
        return f"HeldPort({self.number})"


def _bind(port: int, option: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, option, 1)
        held.bind((LOOPBACK, port))
    except (OSError, OverflowError) as exc:
        held.close()
        raise PortTakenError(
            f"Port {port} of {LOOPBACK} cannot be used ({exc}); choose another one, or 0 for any free one."
        ) from exc
    return held


class ReadinessProbe:
    """Asks a Triton over gRPC whether it is ready, until it answers: connecting is retried every few tens of ms.

    Args:
        address: `host:port` of the server.
        timeout_s: When to give up.
        on_answer: Called on a thread of grpc when there is an answer, an error, or no more time.
    """

    def __init__(self, address: str, timeout_s: float, on_answer: Callable[[], None]) -> None:
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 100),
        ]
        self._channel = grpc.insecure_channel(address, options=options)
        ask = self._channel.unary_unary(_METHOD, request_serializer=bytes, response_deserializer=bytes)
        self._call = ask.future(b"", timeout=timeout_s, wait_for_ready=True)
        self._call.add_done_callback(lambda _call: on_answer())

    @property
    def ready(self) -> bool:
        """Whether the server has answered that it is ready."""
        return bool(self._call.done() and self._call.code() is grpc.StatusCode.OK and self._call.result() == _READY)

    def close(self) -> None:
        self._call.cancel()
        self._channel.close()
