# SPDX-License-Identifier: Apache-2.0
"""Reading the messages of admitted calls, in bounded time.

A body of which little has come holds what has come, not the most that it could be: only those that are whole, or of
which much is there, wait in the line for memory. Who sends slowly is not before those who have sent.
"""

from typing import Any, Protocol

import grpc
from grpc_h2.bodies.messages import MessageTooLongError
from open_inference.tensors import Buffer

from matting_gateway.admission.permit import Permit
from matting_gateway.clock import Clock
from matting_gateway.errors import GatewayError, OverloadedError, ResidencyExceededError
from matting_gateway.rpc.boundary.promise import broken_promise
from matting_gateway.rpc.boundary.timeouts import Timeouts
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.traces import Trace


class Incoming(Protocol):
    """Where messages come from: the context of a call on the gateway's own server."""

    @property
    def begun(self) -> bool: ...

    async def has_begun(self) -> None: ...

    async def read(self, most_bytes: int | None = None) -> Any: ...


class MessageReceiver:
    """Reads the one message of a wire-unary call, which gRPC has not read yet."""

    def __init__(self, *, timeout_s: float, clock: Clock, metrics: Metrics) -> None:
        self.timeouts = Timeouts(timeout_s)
        self._clock = clock
        self._seconds = metrics.stage_seconds.labels("receive")

    async def begun(self, context: Incoming) -> None:
        """Wait until the call's message has really begun to come; no permit is held meanwhile.

        Raises:
            ResidencyExceededError: It has not in time.
        """
        if context.begun:
            return
        try:
            with self.timeouts.block():
                await context.has_begun()
        except TimeoutError as exc:
            raise self.too_slow() from exc

    async def read(
        self,
        context: Incoming,
        permit: Permit,
        *,
        most_bytes: int,
        missing: GatewayError,
        trace: Trace | None = None,
    ) -> Buffer:
        """Return the message.

        Args:
            context: gRPC's of the call.
            permit: What the call holds meanwhile.
            most_bytes: The most that the message may have: what was promised, or every limit.
            missing: Raised where the call ends without a message.
            trace: Told how long it took.

        Raises:
            ResidencyExceededError: It did not arrive in time.
            OverloadedError: It did not arrive in good time, and others wait for the memory.
            OptionInvalidError: It has more than `most_bytes`.
        """
        since_s = self._clock.now()
        in_the_way = False

        def give_way() -> None:
            nonlocal in_the_way
            in_the_way = True
            in_time.expire()

        try:
            with self.timeouts.block() as in_time, permit.awaiting(most_bytes, give_way):
                message = await context.read(most_bytes)
        except MessageTooLongError as exc:
            raise broken_promise() from exc
        except TimeoutError as exc:
            if in_the_way:
                raise gave_way() from exc
            raise self.too_slow() from exc
        if message is grpc.aio.EOF:
            raise missing
        self.took(since_s, self._clock.now(), trace)
        received: Buffer = message
        return received

    def took(self, since_s: float, until_s: float, trace: Trace | None) -> None:
        """Note how long a message took to come."""
        self._seconds.observe(until_s - since_s, trace)
        if trace is not None:
            trace.stage("receive", since_s, until_s)

    def too_slow(self) -> ResidencyExceededError:
        """Return what to tell a caller whose message did not come in time."""
        return did_not_arrive(self.timeouts.seconds)


def did_not_arrive(timeout_s: float) -> ResidencyExceededError:
    """Return what to tell a caller whose message did not come within so many seconds."""
    return ResidencyExceededError(f"The request did not arrive within {timeout_s:g} s; send it faster.")


def gave_way() -> OverloadedError:
    """Return what to tell a caller whose message did not come while others waited."""
    return OverloadedError(
        "The message came too slowly while others waited for the memory kept for it; send it faster.", retry_after_s=1.0
    )
