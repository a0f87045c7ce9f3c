# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end, in grpc's words."""

import asyncio
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_IPV4_IN_IPV6 = "::ffff:"


@dataclass(frozen=True, slots=True, repr=False)
class Peer:
    """Who is at the other end of a connection, in grpc's words; names of a certificate only once verified.

    `network` is whose calls are counted together; None where the peer stands for many.
    """

    name: str
    auth_context: Mapping[str, tuple[bytes, ...]]
    network: str | None = None


def peer_of(transport: asyncio.Transport | None) -> Peer:
    """Return the peer of a connection: its address, and the names of its verified certificate."""
    if transport is None:
        return Peer("unknown", {})
    certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
    return Peer(_name(transport.get_extra_info("peername")), _auth_context(certificate or {}))


def _name(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        host = host.removeprefix(_IPV4_IN_IPV6)
        return f"ipv6:%5B{urllib.parse.quote(host, safe=':')}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
    return "unix:"


def _auth_context(certificate: dict[str, Any]) -> dict[str, tuple[bytes, ...]]:
    names = {
        "x509_subject_alternative_name": tuple(_encoded(value for _, value in certificate.get("subjectAltName", ()))),
        "x509_common_name": tuple(
            _encoded(value for part in certificate.get("subject", ()) for key, value in part if key == "commonName")
        ),
    }
    return {key: values for key, values in names.items() if values}


def _encoded(values: Iterable[str]) -> Iterable[bytes]:
    return (value.encode() for value in values)
