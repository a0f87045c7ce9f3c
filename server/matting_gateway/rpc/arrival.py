# SPDX-License-Identifier: Apache-2.0
"""Before a permit is asked for: whose message it is, and that it has really begun to come.

A body of which little has come holds what has come, not the most that it could be: only those that are whole, or of
which much is there, wait in the line for memory. Who sends slowly is not before those who have sent.
"""

import asyncio
from collections.abc import Collection
from typing import Any

from matting_gateway.errors import DrainingError, OverloadedError, ResidencyExceededError
from matting_gateway.grpc_server.bare_call import BareCall
from matting_gateway.rpc.call import Call
from matting_gateway.rpc.timeouts import Timeouts


class CallSender:
    """Who sends a call's messages, as admission has to know it."""

    __slots__ = ("_call", "_context")

    def __init__(self, context: BareCall, call: Call) -> None:
        self._context = context
        self._call = call

    @property
    def group(self) -> str | None:
        """The tenant, where there are some, or else the peer's network; None where the peer stands for many."""
        return self._call.tenant.name or self._context.network

    @property
    def arrived_bytes(self) -> int:
        return self._context.arrived_bytes

    @property
    def announced_bytes(self) -> int:
        """The most that the next message may have, as its prefix says; every limit where that is not known yet."""
        return self._context.announced_bytes


class Arrival:
    """Waits for the beginning of calls' messages, for so many seconds at the most."""

    def __init__(self, timeout_s: float) -> None:
        self._timeouts = Timeouts(timeout_s)

    async def begun(self, context: BareCall) -> None:
        """Wait until the call's message has begun to come.

        Raises:
            ResidencyExceededError: It has not in time.
        """
        if context.begun:
            return
        try:
            with self._timeouts.block():
                await context.has_begun()
        except TimeoutError as exc:
            text = f"The request did not arrive within {self._timeouts.seconds:g} s; send it faster."
            raise ResidencyExceededError(text) from exc


class StreamArrival:
    """Waits for the beginning of a stream's messages, and not for ever.

    Args:
        draining: Set when the gateway shuts down.
        idle_timeout_s: How long a stream on which nothing is in work may stay silent.
    """

    def __init__(self, *, draining: asyncio.Event, idle_timeout_s: float) -> None:
        self._draining = draining
        self._idle_timeout_s = idle_timeout_s

    async def next_begun(
        self, context: BareCall, *, in_work: Collection[asyncio.Future[Any]], may_idle: Collection[object] = ()
    ) -> None:
        """Wait until the next message has begun to come, or the stream ends.

        Args:
            context: The stream's.
            in_work: The items that are being answered, as they are at any time: a stream that has some is not idle.
            may_idle: Where it is not empty the stream may stay silent.

        Raises:
            DrainingError: The gateway shuts down.
            OverloadedError: The stream was idle for too long.
        """
        if context.begun:
            return
        begun = asyncio.ensure_future(context.has_begun())
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while not begun.done():
                if draining.done():
                    raise DrainingError("The gateway is shutting down; what was accepted is answered. Ask another one.")
                patience_s = None if in_work or may_idle else self._idle_timeout_s
                done, _ = await asyncio.wait(
                    {begun, draining, *in_work}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    raise OverloadedError(
                        f"The stream was idle for {self._idle_timeout_s:g} s and is closed; open another when there is"
                        " work.",
                        retry_after_s=0.0,
                    )
        finally:
            begun.cancel()
            draining.cancel()
