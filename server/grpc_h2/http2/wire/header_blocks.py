# SPDX-License-Identifier: Apache-2.0
"""Header blocks (RFC 7541): read by the library, written as literals that no table remembers."""

from collections.abc import Iterable
from typing import TypeAlias

import hpack

from grpc_h2.http2.wire.errors import ConnectionFault, HeadersTooLarge
from grpc_h2.http2.wire.frames import COMPRESSION_ERROR

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

_INDEXED = 0x80
_LONGER_INDEX = 0xFF
_MAX_REMEMBERED = 64
_MAX_REMEMBERED_BYTES = 64  # a call has some twenty fields


class HeaderBlockReader:
    """Reads the blocks of one connection, in their order.

    Owns the library's dynamic table, and what blocks were read as that consist of nothing but
    indices of one byte: such a block leaves the table as it was, and callers send the same one
    with every call. Invariant: what is remembered was read with the table as it is now.
    """

    def __init__(self, max_bytes: int) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=max_bytes)
        self._remembered: dict[bytes, Fields] = {}

    def read(self, block: bytes, stream_id: int = 0) -> Fields:
        """Return names and values of a stream's block.

        Raises:
            ConnectionFault: The block is damaged or too large; the table is lost with it.
        """
        fields = self._remembered.get(block)
        if fields is not None:
            return fields
        try:
            fields = tuple((bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True))
        except hpack.OversizedHeaderListError as exc:
            raise HeadersTooLarge(stream_id) from exc
        except (hpack.HPACKError, UnicodeDecodeError) as exc:
            raise ConnectionFault(COMPRESSION_ERROR, "damaged header block") from exc
        if block and min(block) >= _INDEXED and max(block) < _LONGER_INDEX:
            if len(block) <= _MAX_REMEMBERED_BYTES and len(self._remembered) < _MAX_REMEMBERED:
                self._remembered[block] = fields
        else:
            self._remembered.clear()
        return fields


def write_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a block of literals without indexing, so that no table of the peer's holds what they say."""
    return b"".join([b"\0" + write_text(name) + write_text(value) for name, value in fields])


def write_text(text: bytes) -> bytes:
    """Return a text after its length, an integer with a prefix of seven bits (RFC 7541, 5.1 and 5.2)."""
    rest = len(text)
    if rest < 0x7F:
        return rest.to_bytes(1, "big") + text
    encoded = bytearray((0x7F,))
    rest -= 0x7F
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded) + text
