# SPDX-License-Identifier: Apache-2.0
"""A name server for one name on a loopback socket, whose addresses a test changes: as a headless Service has it."""

import asyncio
import ipaddress
import struct
from typing import Any, Self

_HEADER = struct.Struct(">HHHHHH")
_RESPONSE, _NAME_ERROR = 0x8400, 3
_A, _INTERNET = 1, 1
_TTL_S = 0
_TO_QUESTION = b"\xc0\x0c"  # where the name of an answer stands already


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for the IPv4 addresses of `name` with `addresses`; there are no others, and no other name."""

    def __init__(self, name: str, *addresses: str) -> None:
        self.name = name
        self.addresses = list(addresses)
        self.port = 0
        self.asked_count = 0
        self._transport: Any = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked_count += 1
        number, flags, *_ = _HEADER.unpack_from(data)
        name, end = _name_at(data, _HEADER.size)
        kind, _internet = struct.unpack_from(">HH", data, end)
        known = name.rstrip(".").lower() == self.name
        addresses = self.addresses if known and kind == _A else []
        head = _HEADER.pack(number, _RESPONSE | flags & 0x0100 | (0 if known else _NAME_ERROR), 1, len(addresses), 0, 0)
        answers = [
            _TO_QUESTION + struct.pack(">HHIH", _A, _INTERNET, _TTL_S, 4) + ipaddress.IPv4Address(address).packed
            for address in addresses
        ]
        self._transport.sendto(head + data[_HEADER.size : end + 4] + b"".join(answers), addr)


def _name_at(data: bytes, place: int) -> tuple[str, int]:
    """Return the name that begins there, and where it ends; names of questions have no references."""
    labels = []
    while length := data[place]:
        labels.append(data[place + 1 : place + 1 + length].decode("ascii"))
        place += 1 + length
    return ".".join(labels), place + 1
