# SPDX-License-Identifier: Apache-2.0
"""Before a permit is asked for: whose message it is, and that it has really begun to come.

A body of which little has come holds what has come, not the most that it could be: only those that are whole, or of
which much is there, wait in the line for memory. Who sends slowly is not before those who have sent.
"""

from matting_gateway.errors import ResidencyExceededError
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
