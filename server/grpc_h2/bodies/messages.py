# SPDX-License-Identifier: Apache-2.0
"""What a message of a call may be, and what is said of one that may not be."""

from dataclasses import dataclass, replace
from typing import Self

import grpc

# Ways to compress a message that are known.
_COMPRESSIONS = ("gzip", "deflate")


class MessageFault(Exception):  # noqa: N818 - what a caller did, told as a status
    """The body is no sequence of messages, or one is too large."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class MessageTooLongError(Exception):
    """The next message is longer than its reader is prepared for. Nothing of it has been taken, nor will be."""


@dataclass(frozen=True, slots=True)
class MessageRules:
    """Bounds of the messages of a call.

    `max_bytes` is the most that one may have, as it comes and uncompressed; `encoding` says how compressed ones are
    compressed; `small_bytes` is the most of one for which no reader holds a permit.
    """

    max_bytes: int
    encoding: str
    small_bytes: int = 64 << 10

    def small(self) -> Self:
        """Return the rules of messages for which there is no permit."""
        return replace(self, max_bytes=min(self.max_bytes, self.small_bytes))

    def problem_of(self, flag: int, length: int, most_bytes: int | None) -> MessageFault | MessageTooLongError | None:
        """Return what is wrong with a message of so many bytes, as it comes, if anything.

        Args:
            flag: Whether it is compressed, as the peer says it.
            length: Of what travels.
            most_bytes: The most that its reader is prepared for.
        """
        too_large = self.problem_of_size(length, most_bytes)
        if too_large is not None:
            return too_large
        if flag > 1:
            return MessageFault(grpc.StatusCode.INTERNAL, "A message begins with a flag that gRPC does not know.")
        if flag and self.encoding not in (*_COMPRESSIONS, "identity"):
            return MessageFault(grpc.StatusCode.UNIMPLEMENTED, "The request's grpc-encoding is not supported.")
        if flag and self.encoding == "identity":
            return MessageFault(grpc.StatusCode.INTERNAL, "A message is compressed, and no grpc-encoding says how.")
        return None

    def problem_of_size(self, length: int, most_bytes: int | None) -> MessageFault | MessageTooLongError | None:
        """Return what is wrong with so many bytes, as they come or uncompressed, if anything."""
        if length > self.max_bytes:
            text = f"SERVER: Received message larger than max ({length} vs. {self.max_bytes})"
            return MessageFault(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        return MessageTooLongError() if most_bytes is not None and length > most_bytes else None


def too_early(byte_count: int) -> MessageFault:
    """Return what to tell a caller who holds so much of a call that is not let in."""
    text = f"The call holds {byte_count} bytes before there was memory for it, and many do; try again later."
    return MessageFault(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
