# SPDX-License-Identifier: Apache-2.0
"""Whose message a permit is for."""

from grpc_h2.server.bare_call import BareCall

from matting_gateway.rpc.boundary.call_info import CallInfo


class CallSender:
    """Who sends a call's messages, as admission has to know it."""

    __slots__ = ("_call", "_context")

    def __init__(self, context: BareCall, call: CallInfo) -> None:
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
