# SPDX-License-Identifier: Apache-2.0
"""Groups callers by network, so that none of them takes more than its part of what is scarce."""

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from matting_gateway.telemetry.anonymous import address_of, short_peer

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def network_from(text: str) -> Network:
    """Return a network as an operator names it: an address, or one with a prefix length.

    Raises:
        ValueError: It is none; the text says what is wrong with it.
    """
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as exc:
        raise ValueError(f"{text!r} is no network such as 10.0.0.0/8 or 2001:db8::/32 ({exc})") from exc


class PeerNetworks:
    """Tells peers' networks apart: /24 of IPv4, /48 of IPv6.

    A proxy, a NAT and a network of pods look like one peer and are many. The loopback, Unix sockets and networks of
    `trusted` proxies are no group, so that no cap is on them.
    """

    def __init__(self, trusted: Iterable[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def group_of(self, peer: str) -> str | None:
        """Return the network of a peer as grpc names it; None where it stands for many."""
        address = address_of(peer)
        if address is None or address.is_loopback or any(address in network for network in self._trusted):
            return None
        return short_peer(peer)
