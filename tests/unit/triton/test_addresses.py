# SPDX-License-Identifier: Apache-2.0
"""Addresses as configured, and what they stand for."""

import asyncio
import socket
from typing import Any

import pytest
from matting_gateway.triton.transport.addresses import Address, ConfiguredAddress


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:70000", "host:x", "::1:8001", "[]:1"])
def test_what_is_no_address_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|brackets"):
        ConfiguredAddress.parse(text)


async def test_literals_and_sockets_stand_for_themselves() -> None:
    for text, target in (
        ("127.0.0.1:8001", "ipv4:127.0.0.1:8001"),
        ("[::1]:8001", "ipv6:[::1]:8001"),
        ("unix:/run/triton.sock", "unix:/run/triton.sock"),
    ):
        configured = ConfiguredAddress.parse(text)
        assert not configured.is_name
        (address,) = await configured.resolve()
        assert (address.label, address.target) == (text, target)


async def test_a_name_stands_for_each_of_its_addresses_of_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, port: int, **_: Any) -> list[Any]:
        entry = (socket.SOCK_STREAM, 6, "")
        four = [(socket.AF_INET, *entry, (ip, port)) for ip in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
        return [(socket.AF_INET6, *entry, ("fd00::1", port, 0, 0)), *four]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    configured = ConfiguredAddress.parse("tritons.example:8001")
    assert configured.is_name
    assert await configured.resolve() == (
        Address("10.0.0.1:8001", "ipv4:10.0.0.1:8001", "tritons.example"),
        Address("10.0.0.2:8001", "ipv4:10.0.0.2:8001", "tritons.example"),
    )
