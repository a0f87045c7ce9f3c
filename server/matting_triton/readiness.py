# SPDX-License-Identifier: Apache-2.0
"""Asking a Triton over gRPC whether it is ready, without any generated stub."""

from collections.abc import Callable

import grpc

_METHOD = "/inference.GRPCInferenceService/ServerReady"
# ServerReadyResponse { bool ready = 1; } with ready = true, in protobuf's wire format.
_READY = b"\x08\x01"


class ReadinessProbe:
    """One question, asked until it is answered: connecting is retried every few tens of milliseconds.

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
