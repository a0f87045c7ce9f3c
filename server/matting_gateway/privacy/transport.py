# SPDX-License-Identifier: Apache-2.0
"""Which hops may go in the clear: loopback and Unix sockets, and what the operator names."""

import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class PlaintextRefusedError(ValueError):
    """A hop over a network would carry photos, or traces, in the clear, and nobody asked for that by name."""


class HopKind(Enum):
    """Where a hop leads."""

    LOOPBACK = "loopback"
    UNIX = "unix"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Hop:
    """One way that photos travel, or traces. `mutual`: both ends show a certificate."""

    kind: HopKind
    tls: bool
    mutual: bool = False

    @property
    def protected(self) -> bool:
        """Whether nobody on a network can read along."""
        return self.tls or self.kind is not HopKind.NETWORK


def hop_kind(address: str) -> HopKind:
    """Return where an address in grpc's form leads. A host name other than localhost counts as a network."""
    if address.startswith(("unix:", "unix-abstract:")):
        return HopKind.UNIX
    host = address.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").lstrip("/")
    host = host[1 : host.index("]")] if host.startswith("[") and "]" in host else _without_port(host)
    if host == "localhost":
        return HopKind.LOOPBACK
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        return HopKind.NETWORK
    return HopKind.LOOPBACK if loopback else HopKind.NETWORK


def _without_port(host: str) -> str:
    # One colon separates the port; more are an IPv6 address without brackets, which has none.
    return host.partition(":")[0] if host.count(":") == 1 else host


def _check(
    what: str, carried: str, address: str, *, tls: bool, plaintext_allowed: Sequence[str], mutual: bool = False
) -> Hop:
    """Return what a hop is, for the data policy.

    Raises:
        PlaintextRefusedError: It crosses a network without TLS, and is not in `plaintext_allowed`.
    """
    hop = Hop(hop_kind(address), tls, mutual)
    if hop.protected or address in plaintext_allowed:
        return hop
    raise PlaintextRefusedError(
        f"{carried} would cross a network in the clear: {what} {address} without TLS. Give certificate files,"
        f" or allow it by name with --allow-plaintext {address}; the data policy then says so."
    )


check_listen = functools.partial(_check, "listening on", "Photos")
check_backend = functools.partial(_check, "the Triton at", "Photos")
check_collector = functools.partial(_check, "the collector at", "Traces")
