# SPDX-License-Identifier: Apache-2.0
"""What is known of a call, and what its status will say: the part of grpc.aio's context that sends nothing."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from grpc_h2.server.metadata import CallHead, Metadata, initial_block, metadata_block

_PLAIN_HEADERS = initial_block()


@dataclass(frozen=True, slots=True, repr=False)
class Peer:
    """Who is at the other end of a connection, in grpc's words; names of a certificate only once verified.

    `network` is whose calls are counted together; None where the peer stands for many.
    """

    name: str
    auth_context: Mapping[str, tuple[bytes, ...]]
    network: str | None = None


class CallFacts:
    """The facts of one call. Owns the status to be; touched on the event loop only."""

    def __init__(self, head: CallHead, peer: Peer) -> None:
        self._loop = asyncio.get_running_loop()
        self.head = head
        self._peer = peer
        self._deadline_s = None if head.timeout_s is None else self._loop.time() + head.timeout_s
        self._initial: Metadata = ()
        self._initial_block = _PLAIN_HEADERS
        self._trailing: Metadata = ()
        self._trailing_block = b""
        self._code: grpc.StatusCode | int = 0
        self._details = ""

    def set_initial_metadata(self, initial_metadata: Any) -> None:
        """Set what goes with the first message, or with the status where there is no message.

        Raises:
            ValueError: A value cannot be sent.
        """
        initial = tuple(initial_metadata)
        self._initial_block = initial_block(initial)
        self._initial = initial

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set what goes with the status.

        Raises:
            ValueError: A value cannot be sent.
        """
        trailing = tuple(trailing_metadata)
        self._trailing_block = metadata_block(trailing)
        self._trailing = trailing

    def invocation_metadata(self) -> Any:
        return self.head.metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Do nothing: answers are pictures and tensors, which do not get smaller."""

    def disable_next_message_compression(self) -> None:
        """Do nothing: no message is compressed."""

    def peer(self) -> str:
        return self._peer.name

    @property
    def network(self) -> str | None:
        """Whose calls are counted together with this one; None: the peer stands for many."""
        return self._peer.network

    def peer_identities(self) -> Iterable[bytes] | None:
        key = self.peer_identity_key()
        return None if key is None else self._peer.auth_context.get(key)

    def peer_identity_key(self) -> str | None:
        known = (name for name in ("x509_subject_alternative_name", "x509_common_name"))
        return next((name for name in known if name in self._peer.auth_context), None)

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return self._peer.auth_context

    def time_remaining(self) -> Any:
        """Return seconds until the deadline, never negative; None where there is none."""
        return None if self._deadline_s is None else max(0.0, self._deadline_s - self._loop.time())

    def trailing_metadata(self) -> Any:
        return self._trailing

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details
