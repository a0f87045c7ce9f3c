# SPDX-License-Identifier: Apache-2.0
"""What a peer did that HTTP/2 does not allow, or more of it than is borne."""

from matting_gateway.http2.frames import ENHANCE_YOUR_CALM


class ConnectionFault(Exception):  # noqa: N818 - the RFC's term is "connection error", which Python's own name takes
    """The connection ends: GOAWAY with `code` (RFC 9113, 5.4.1). The text never holds what the peer sent."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class HeadersTooLarge(ConnectionFault):
    """More headers than are read: what they would have left in the table is lost, and the connection with it."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(ENHANCE_YOUR_CALM, "too many or too long headers")
        self.stream_id = stream_id
