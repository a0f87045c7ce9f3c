# SPDX-License-Identifier: Apache-2.0
"""What a peer speaks that does not speak HTTP/2, told by its first bytes."""

from grpc_h2.http2.wire import frames

_HTTP1 = b"HTTP/1"
# A record of TLS: alert or handshake, version 3.x (RFC 8446, 5.1).
_TLS_KINDS = (0x15, 0x16)
_TLS_MAJOR = 3


def what_it_speaks(first: bytes) -> str:
    """Return the name of what a server's first bytes are; "" for HTTP/2 and for the beginning of anything."""
    if len(first) < frames.HEADER_BYTES:
        return ""
    if first.startswith(_HTTP1):
        return first[: len(_HTTP1) + 2].decode("ascii", "replace")
    if first[0] in _TLS_KINDS and first[1] == _TLS_MAJOR:
        return "TLS"
    if first.lstrip()[:1] == b"<":
        return "HTML"
    _, kind, _, stream_id = frames.read_header(memoryview(first), 0)
    return "" if kind == frames.SETTINGS and not stream_id else "no HTTP/2"
