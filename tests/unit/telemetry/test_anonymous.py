# SPDX-License-Identifier: Apache-2.0
import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.telemetry.anonymous import clean_request_id, pixel_bucket, short_peer


@pytest.mark.parametrize(
    ("peer", "short"),
    [
        ("ipv4:192.0.2.77:50123", "192.0.2.0/24"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:50123", "2001:db8:1::/48"),
        ("ipv6:[2001:db8:1:2::9]:1", "2001:db8:1::/48"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/48"),
        ("ipv6:%5B::ffff:192.0.2.77%5D:1", "192.0.2.0/24"),
        ("unix:/run/matting.sock", "unix"),
        ("unix:", "unix"),
        ("unix-abstract:name", "unix"),
        ("", "unknown"),
        ("ipv4:nonsense", "unknown"),
        ("vsock:3:1", "unknown"),
    ],
)
def test_a_peer_is_cut_to_its_network(peer: str, short: str) -> None:
    assert short_peer(peer) == short


@pytest.mark.slow
@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_no_full_ipv4_address_survives(address: ipaddress.IPv4Address, port: int) -> None:
    short = ipaddress.ip_network(short_peer(f"ipv4:{address}:{port}"))
    assert short.prefixlen == 24
    assert address in short


@given(st.text(max_size=80))
def test_any_text_for_a_peer_is_taken(peer: str) -> None:
    assert short_peer(peer)


@pytest.mark.parametrize(
    ("pixel_count", "bucket"),
    [(0, "0-1MP"), (999_999, "0-1MP"), (1_000_000, "1-2MP"), (12_000_000, "8-16MP"), (64_000_000, ">64MP")],
)
def test_a_size_is_a_bucket(pixel_count: int, bucket: str) -> None:
    assert pixel_bucket(pixel_count) == bucket


@pytest.mark.parametrize("value", ["a", "7f3c-11", "x" * 64, "A.b_c-9"])
def test_a_harmless_request_id_is_kept(value: str) -> None:
    assert clean_request_id(value) == value


@pytest.mark.parametrize("value", [None, "", "x" * 65, "two words", "a\nb", "ä", 'x","y":"'])
def test_any_other_request_id_is_replaced_by_a_random_one(value: str | None) -> None:
    first, second = clean_request_id(value), clean_request_id(value)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first != second
