# SPDX-License-Identifier: Apache-2.0
"""Waiting until a gateway serves, by the watch of the standard health service, spoken by hand.

The bare client has no package with the health messages; both are of one field
(grpc/health/v1/health.proto): the request is empty for the whole server, and the response is
`status`, a varint in field 1, where 1 is SERVING.
"""

import time
from collections.abc import Callable

import grpc

_WATCH = "/grpc.health.v1.Health/Watch"
_SERVING = b"\x08\x01"
_RECONNECT_S = 1.0


def wait_serving(address: str, *, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Return True as soon as the gateway serves; False at the time-out, or when `alive` says that it is gone."""
    until_s = time.monotonic() + timeout_s
    options = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000))
    with grpc.insecure_channel(address, options=options) as channel:
        watch = channel.unary_stream(_WATCH, request_serializer=bytes, response_deserializer=bytes)
        while alive() and time.monotonic() < until_s:
            try:
                for status in watch(b"", timeout=_RECONNECT_S, wait_for_ready=True):
                    if status == _SERVING:
                        return True
            except grpc.RpcError:
                continue
    return False
