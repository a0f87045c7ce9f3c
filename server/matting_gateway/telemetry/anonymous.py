# SPDX-License-Identifier: Apache-2.0
"""What may be told of a caller and a photo: a network, a bucket, an id that says nothing."""

import functools
import ipaddress
import random
import re
from urllib.parse import unquote

# As grpc writes most peers; cheaper than to take the address apart and put it together again.
_IPV4_PEER = re.compile(r"ipv4:(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}:\d{1,5}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MEGAPIXEL_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


def address_of(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address of a peer as grpc names it; None where it has none, as on a Unix socket."""
    scheme, _, rest = unquote(peer).partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return None
    try:
        address = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@functools.lru_cache(maxsize=256)
def short_peer(peer: str) -> str:
    """Return the network of a peer as grpc names it: /24 of IPv4, /48 of IPv6, "unix" or "unknown".

    Shortened as the usual advice on logging is (RFC 6302 and what data protection made of it).
    """
    usual = _IPV4_PEER.fullmatch(peer)
    if usual is not None:
        return f"{usual[1]}.0/24"
    address = address_of(peer)
    if address is None:
        return "unix" if peer.startswith("unix") else "unknown"
    kept_bits = 24 if address.version == 4 else 48
    hidden_bits = address.max_prefixlen - kept_bits
    return f"{type(address)(int(address) >> hidden_bits << hidden_bits)}/{kept_bits}"


def pixel_bucket(pixel_count: int) -> str:
    """Return the bucket of a photo's size, such as "2-4MP"; exact sizes would tell photos apart."""
    lower = 0
    for upper in _MEGAPIXEL_BUCKETS:
        if pixel_count < upper * 1_000_000:
            return f"{lower}-{upper}MP"
        lower = upper
    return f">{lower}MP"


def clean_request_id(value: str | None) -> str:
    """Return the caller's request id, or a random one if it has none or one that does not fit a log line."""
    if value is not None and _REQUEST_ID.fullmatch(value):
        return value
    # It tells calls apart and protects nothing: not worth a system call for each.
    return f"{random.getrandbits(64):016x}"
