# SPDX-License-Identifier: Apache-2.0
"""What a message of a call may be, and what is said of one that may not be."""

import zlib
from dataclasses import dataclass

import grpc

# zlib's window bits for what gRPC calls them: both have the header of their format.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


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
    compressed.
    """

    max_bytes: int
    encoding: str

    def problem_of(self, flag: int, length: int, most_bytes: int | None) -> MessageFault | MessageTooLongError | None:
        """Return what is wrong with a message of so many bytes, as it comes, if anything.

        Args:
            flag: Whether it is compressed, as the peer says it.
            length: Of what travels.
            most_bytes: The most that its reader is prepared for.
        """
        if self._is_too_long(length, most_bytes):
            return MessageTooLongError()
        if length > self.max_bytes:
            return self._too_large(length)
        if flag > 1:
            return MessageFault(grpc.StatusCode.INTERNAL, "A message begins with a flag that gRPC does not know.")
        if flag and self.encoding not in (*_WINDOW_BITS, "identity"):
            return MessageFault(grpc.StatusCode.UNIMPLEMENTED, "The request's grpc-encoding is not supported.")
        if flag and self.encoding == "identity":
            return MessageFault(grpc.StatusCode.INTERNAL, "A message is compressed, and no grpc-encoding says how.")
        return None

    def _is_too_long(self, length: int, most_bytes: int | None) -> bool:
        return most_bytes is not None and most_bytes < length <= self.max_bytes

    def _too_large(self, length: int) -> MessageFault:
        text = f"SERVER: Received message larger than max ({length} vs. {self.max_bytes})"
        return MessageFault(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    def uncompressed(self, message: memoryview, most_bytes: int | None) -> bytes:
        """Return what is in a compressed message.

        Raises:
            MessageTooLongError: More than the reader is prepared for.
            MessageFault: It is damaged, or larger than any may be.
        """
        stream = zlib.decompressobj(_WINDOW_BITS[self.encoding])
        try:
            data = stream.decompress(message, (self.max_bytes if most_bytes is None else most_bytes) + 1)
        except zlib.error as exc:
            raise MessageFault(grpc.StatusCode.INTERNAL, "A compressed message is damaged.") from exc
        if self._is_too_long(len(data), most_bytes):
            raise MessageTooLongError
        if len(data) > self.max_bytes:
            raise self._too_large(len(data))
        if not stream.eof or stream.unused_data:
            raise MessageFault(grpc.StatusCode.INTERNAL, "A compressed message is damaged.")
        return data


def too_early(byte_count: int) -> MessageFault:
    """Return what to tell a caller who has sent so much of a call that is not let in."""
    text = f"The call has sent {byte_count} bytes before there was memory for it, and many do; try again later."
    return MessageFault(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
