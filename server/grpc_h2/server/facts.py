# SPDX-License-Identifier: Apache-2.0
"""What is known of a call, what goes with its status, and who is told of its end: all of it that sends nothing."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from grpc_h2.server.metadata import CallHead, Metadata, initial_block, metadata_block
from grpc_h2.server.peer import Peer

_PLAIN_HEADERS = initial_block()


class CallFacts:
    """The facts of one call.

    Owns the status to be, how far the call has come, and who is told of its end: once, when the last of the answer
    has been written or the caller is gone, and whoever serves the call has let go of it.
    """

    def __init__(self, head: CallHead, peer: Peer) -> None:
        self._loop = asyncio.get_running_loop()
        self.head = head
        self._peer = peer
        self._deadline_s = None if head.timeout_s is None else self._loop.time() + head.timeout_s
        self._initial: Metadata = ()
        self._initial_block = _PLAIN_HEADERS
        self._trailing: Metadata = ()
        self._trailing_block = b""
        self._code = grpc.StatusCode.OK
        self._ended = False  # nothing more is taken, and nothing more is to be said
        self._gone = self._lost = False  # all is written, or the caller is lost
        self._served = False
        self._callbacks: list[Callable[[Any], None]] = []

    def set_initial_metadata(self, initial_metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Set what goes with the first message, or with the status where there is no message.

        Raises:
            ValueError: A value cannot be sent.
        """
        initial = tuple(initial_metadata)
        self._initial_block = initial_block(initial)
        self._initial = initial

    def set_trailing_metadata(self, trailing_metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Set what goes with the status.

        Raises:
            ValueError: A value cannot be sent.
        """
        trailing = tuple(trailing_metadata)
        self._trailing_block = metadata_block(trailing)
        self._trailing = trailing

    def invocation_metadata(self) -> Metadata:
        return self.head.metadata

    def peer(self) -> str:
        return self._peer.name

    @property
    def network(self) -> str | None:
        """Whose calls are counted together with this one; None: the peer stands for many."""
        return self._peer.network

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return self._peer.auth_context

    def time_remaining(self) -> float | None:
        """Return seconds until the deadline, never negative; None where there is none."""
        return None if self._deadline_s is None else max(0.0, self._deadline_s - self._loop.time())

    def code(self) -> grpc.StatusCode:
        """Return what the status says, or will say as far as is known."""
        return self._code

    def done(self) -> bool:
        return self._ended

    def cancelled(self) -> bool:
        return self._lost

    @property
    def written(self) -> bool:
        """Whether the last of the answer has been written, or the caller is gone."""
        return self._gone

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have `callback` called once the answer has been written or the caller is gone; if that is so, now."""
        if self._gone and self._served:
            callback(self)
        else:
            self._callbacks.append(callback)

    def _tell_if_done(self) -> None:
        """Tell who asked for it: all is written or the caller gone, and the handler has let go of what it held."""
        if not (self._gone and self._served):
            return
        callbacks, self._callbacks = self._callbacks, []
        for act in callbacks:
            try:
                act(self)
            except Exception as exc:  # noqa: BLE001 - one that fails must not keep the others from being told
                self._loop.call_exception_handler({"message": "a callback of a call failed", "exception": exc})
