# SPDX-License-Identifier: Apache-2.0
"""gRPC's targets, as the addresses of Tritons make them."""

import pytest
from grpc_h2.client.target import Target

TARGETS = {
    "ipv4:10.0.0.1:8001": (Target("10.0.0.1", 8001), "10.0.0.1:8001"),
    "ipv6:[fe80::1]:8001": (Target("fe80::1", 8001), "[fe80::1]:8001"),
    "triton.example:8001": (Target("triton.example", 8001), "triton.example:8001"),
    "dns:///triton.example:8001": (Target("triton.example", 8001), "triton.example:8001"),
    "unix:relative": (Target(path="relative"), "localhost"),
    "unix:/absolute": (Target(path="/absolute"), "localhost"),
    "unix:///absolute": (Target(path="/absolute"), "localhost"),
}


@pytest.mark.parametrize(("text", "target", "authority"), [(t, *rest) for t, rest in TARGETS.items()])
def test_a_target_is_read(text: str, target: Target, authority: str) -> None:
    assert Target.parse(text) == target
    assert target.authority == authority


def test_a_target_without_a_port_is_none() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Target.parse("ipv4:10.0.0.1")
