# SPDX-License-Identifier: Apache-2.0
"""What a peer did that HTTP/2 does not allow, or more of it than is borne."""

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.frames import ENHANCE_YOUR_CALM


class FaultKind(Enum):
    """Everything that a peer can do wrong, by what it is answered: the RFC's error codes, and what has none of them."""

    PROTOCOL_ERROR = "protocol_error"
    FLOW_CONTROL_ERROR = "flow_control_error"
    STREAM_CLOSED = "stream_closed"
    FRAME_SIZE_ERROR = "frame_size_error"
    COMPRESSION_ERROR = "compression_error"
    ENHANCE_YOUR_CALM = "enhance_your_calm"
    HEADERS_TOO_LARGE = "headers_too_large"
    MALFORMED_MESSAGE = "malformed_message"
    NO_PREFACE = "no_preface"
    NO_ALPN = "no_alpn"


# Told of each fault: its kind, and a text that never holds what the peer sent.
OnFault: TypeAlias = Callable[[FaultKind, str], None]

_KINDS = {
    frames.PROTOCOL_ERROR: FaultKind.PROTOCOL_ERROR,
    frames.FLOW_CONTROL_ERROR: FaultKind.FLOW_CONTROL_ERROR,
    frames.STREAM_CLOSED: FaultKind.STREAM_CLOSED,
    frames.FRAME_SIZE_ERROR: FaultKind.FRAME_SIZE_ERROR,
    frames.COMPRESSION_ERROR: FaultKind.COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM: FaultKind.ENHANCE_YOUR_CALM,
}


def kind_of(code: int) -> FaultKind:
    """Return what an error code that we send says of the peer."""
    return _KINDS[code]


class ConnectionFault(Exception):  # noqa: N818 - the RFC's term is "connection error", which Python's own name takes
    """The connection ends: GOAWAY with `code` (RFC 9113, 5.4.1). The text never holds what the peer sent."""

    def __init__(self, code: int, text: str, kind: FaultKind | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.kind = kind or kind_of(code)


class HeadersTooLarge(ConnectionFault):
    """More headers than are read: what they would have left in the table is lost, and the connection with it."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(ENHANCE_YOUR_CALM, "too many or too long headers", FaultKind.HEADERS_TOO_LARGE)
        self.stream_id = stream_id


class MalformedMessage(Exception):  # noqa: N818 - the RFC's term
    """A stream ends: what came on it is no message of HTTP's (RFC 9113, 8.1.1)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
