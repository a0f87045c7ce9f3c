# SPDX-License-Identifier: Apache-2.0
"""Addresses of Tritons, and the lookup of names that stand for several."""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """One place to connect to.

    `target` is gRPC's; `label` is how people and metrics call it; `server_name` is the configured
    host, which a certificate must name.
    """

    label: str
    target: str
    server_name: str


@dataclass(frozen=True, slots=True)
class ConfiguredAddress:
    """An address as configured. `host` is empty where there is nothing to look up."""

    text: str
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "ConfiguredAddress":
        """Read `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.

        Raises:
            ValueError: The text is none of these.
        """
        if text.startswith("unix:"):
            return cls(text)
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16 or not host.strip("[]"):
            raise ValueError(f"{text!r} is no address of a Triton: expected HOST:PORT, [IPV6]:PORT or unix:PATH")
        bare = host.removeprefix("[").removesuffix("]")
        if ":" in bare and bare == host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, as in [::1]:8001")
        return cls(text, bare, int(port))

    async def resolve(self) -> tuple[Address, ...]:
        """Return every place this stands for now.

        A name with both IPv4 and IPv6 addresses stands for its IPv4 ones, so that a host with both is one backend.

        Raises:
            OSError: The name is not known, or no name server answers.
        """
        if not self.host:
            return (Address(self.text, self.text, "localhost"),)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        family = socket.AF_INET if any(entry[0] == socket.AF_INET for entry in found) else socket.AF_INET6
        hosts = sorted({str(entry[4][0]) for entry in found if entry[0] == family})
        return tuple(self._place(host) for host in hosts)

    @property
    def is_name(self) -> bool:
        """Whether what this stands for may change."""
        if not self.host:
            return False
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    def _place(self, host: str) -> Address:
        place = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        scheme = "ipv6" if ":" in host else "ipv4"
        return Address(place, f"{scheme}:{place}", self.host)
