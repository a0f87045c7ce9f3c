# SPDX-License-Identifier: Apache-2.0
"""A message in the body of a gRPC call ("gRPC over HTTP2", grpc/doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message)."""

from collections.abc import Sequence

from grpc_h2.buffers import Buffer

# A flag that says whether it is compressed, and its length.
PREFIX_BYTES = 5
# A piece of a message that is no larger goes in one frame with what follows it.
_SMALL_BYTES = 4 << 10


def body_of(pieces: Sequence[Buffer]) -> list[tuple[bytes, Buffer]]:
    """Return an uncompressed message as it travels: its prefix, and small pieces, go with the large piece that follows.

    The large ones are views of those that were given, which may be released before they are sent.
    """
    body: list[tuple[bytes, Buffer]] = []
    before = b"\0" + sum(map(len, pieces)).to_bytes(PREFIX_BYTES - 1, "big")
    for piece in pieces:
        if len(piece) > _SMALL_BYTES:
            body.append((before, memoryview(piece)))
            before = b""
        else:
            before += piece
    if before:
        body.append((before, b""))
    return body
