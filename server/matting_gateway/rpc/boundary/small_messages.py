# SPDX-License-Identifier: Apache-2.0
"""Messages for which there is no permit: small ones, of calls that the boundary has let in, in bounded time."""

from collections.abc import AsyncIterator
from typing import Any

from grpc_h2.server.call import ServerCall
from grpc_h2.server.dispatch import only_message

from matting_gateway.errors import OverloadedError
from matting_gateway.rpc.boundary.promise import came_too_slowly
from matting_gateway.rpc.boundary.timeouts import Timeouts


class SmallMessages:
    """Gives handlers that read nothing for themselves what they are called with.

    Args:
        timeout_s: How long a call's one message may take to come.
        idle_timeout_s: How long a stream may stay without one.
    """

    def __init__(self, *, timeout_s: float, idle_timeout_s: float) -> None:
        self._timeouts = Timeouts(timeout_s)
        self._idle_timeouts = Timeouts(idle_timeout_s)

    async def only(self, _requests: object, context: ServerCall) -> Any:
        """Return the message of a call that has one.

        Raises:
            ResidencyExceededError: It did not come in time.
            grpc.aio.AbortError: There is none, or none that can be understood; the caller has been told.
        """
        try:
            with self._timeouts.block():
                return await only_message(context)
        except TimeoutError as exc:
            raise came_too_slowly(self._timeouts.seconds) from exc

    async def all(self, requests: AsyncIterator[Any], _context: object) -> "InTime":
        """Return the messages of a stream; handlers that take permits read them from the context instead."""
        return InTime(requests, self._idle_timeouts)


class InTime:
    """Messages that come in bounded time. No generator: one left halfway would need a task to end."""

    def __init__(self, messages: AsyncIterator[Any], timeouts: Timeouts) -> None:
        self._messages = messages
        self._timeouts = timeouts

    def __aiter__(self) -> "InTime":
        return self

    async def __anext__(self) -> Any:
        """Return the next message.

        Raises:
            OverloadedError: None came for too long.
        """
        try:
            with self._timeouts.block():
                return await anext(self._messages)
        except TimeoutError as exc:
            raise OverloadedError(
                f"The stream was idle for {self._timeouts.seconds:g} s and is closed; open another when there is work.",
                retry_after_s=0.0,
            ) from exc
