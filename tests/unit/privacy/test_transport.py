# SPDX-License-Identifier: Apache-2.0
import pytest
from matting_gateway.privacy.transport import (
    Hop,
    HopKind,
    PlaintextRefusedError,
    check_backend,
    check_listen,
    hop_kind,
)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1:50051", HopKind.LOOPBACK),
        ("127.8.9.10:1", HopKind.LOOPBACK),
        ("localhost:50051", HopKind.LOOPBACK),
        ("[::1]:50051", HopKind.LOOPBACK),
        ("::1", HopKind.LOOPBACK),
        ("dns:///localhost:1", HopKind.LOOPBACK),
        ("ipv4:127.0.0.1:1", HopKind.LOOPBACK),
        ("ipv6:[::1]:1", HopKind.LOOPBACK),
        ("unix:/run/matting.sock", HopKind.UNIX),
        ("unix-abstract:matting", HopKind.UNIX),
        ("0.0.0.0:50051", HopKind.NETWORK),
        ("[::]:50051", HopKind.NETWORK),
        (":50051", HopKind.NETWORK),
        ("192.0.2.1:50051", HopKind.NETWORK),
        ("triton:8001", HopKind.NETWORK),
        ("127.0.0.1.example.com:8001", HopKind.NETWORK),
        ("localhost.example.com:8001", HopKind.NETWORK),
        ("dns:///triton.internal:8001", HopKind.NETWORK),
        ("[not an address:1", HopKind.NETWORK),
    ],
)
def test_where_an_address_leads(address: str, kind: HopKind) -> None:
    assert hop_kind(address) is kind


@pytest.mark.parametrize("check", [check_listen, check_backend])
def test_a_network_in_the_clear_is_refused_and_the_flag_named(check: object) -> None:
    assert callable(check)
    with pytest.raises(PlaintextRefusedError, match=r"--allow-plaintext 0\.0\.0\.0:1"):
        check("0.0.0.0:1", tls=False, plaintext_allowed=())


def test_naming_another_address_allows_nothing() -> None:
    with pytest.raises(PlaintextRefusedError):
        check_listen("0.0.0.0:1", tls=False, plaintext_allowed=("0.0.0.0:2", "0.0.0.0:"))


def test_what_is_named_passes_and_shows_as_unprotected() -> None:
    hop = check_listen("0.0.0.0:1", tls=False, plaintext_allowed=("0.0.0.0:1",))
    assert hop == Hop(HopKind.NETWORK, tls=False)
    assert not hop.protected


@pytest.mark.parametrize(
    ("address", "tls"), [("127.0.0.1:1", False), ("unix:/x", False), ("0.0.0.0:1", True), ("triton:1", True)]
)
def test_loopback_unix_and_tls_pass_unnamed(address: str, tls: bool) -> None:
    assert check_backend(address, tls=tls, plaintext_allowed=()).protected
