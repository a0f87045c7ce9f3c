# SPDX-License-Identifier: Apache-2.0
"""Reading the body of an admitted call, in bounded time."""

import asyncio
from typing import Any

import grpc

from matting_gateway.clock import Clock
from matting_gateway.errors import GatewayError, ResidencyExceededError
from matting_gateway.telemetry.metrics import Metrics


class Reception:
    """Reads the one message of a wire-unary call, which gRPC has not read yet."""

    def __init__(self, *, timeout_s: float, clock: Clock, metrics: Metrics) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._seconds = metrics.stage_seconds.labels("receive")

    async def read(self, context: grpc.aio.ServicerContext[Any, Any], *, missing: GatewayError) -> bytes:
        """Return the message.

        Raises:
            ResidencyExceededError: It did not arrive in time.
            GatewayError: `missing`, where the call ended without one.
        """
        since_s = self._clock.now()
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await context.read()
        except TimeoutError as exc:
            raise ResidencyExceededError(
                f"The request did not arrive within {self._timeout_s:g} s; send it faster."
            ) from exc
        if message is grpc.aio.EOF:
            raise missing
        self._seconds.observe(self._clock.now() - since_s)
        return bytes(message)
