# SPDX-License-Identifier: Apache-2.0
"""Peers count together by their network, but for those that stand for many; who guesses credentials is slowed down."""

import pytest
from matting_gateway.admission.failed_logins import FailedLogins
from matting_gateway.admission.networks import PeerNetworks, network_from
from matting_gateway.errors import QuotaExceededError
from testkit.manual_clock import ManualClock

TRUSTED = PeerNetworks((network_from("10.0.0.0/8"), network_from("2001:db8:1::/48"), network_from("192.0.2.7")))


@pytest.mark.parametrize(
    ("peer", "group"),
    [
        ("ipv4:198.51.100.7:1234", "198.51.100.0/24"),
        ("ipv6:%5B2001:db8:2:3::1%5D:1234", "2001:db8:2::/48"),
        ("ipv6:%5B::ffff:198.51.100.7%5D:1234", "198.51.100.0/24"),
        ("ipv4:192.0.2.8:1234", "192.0.2.0/24"),
        ("ipv4:192.0.2.7:1234", None),
        ("ipv4:10.1.2.3:1234", None),
        ("ipv6:%5B2001:db8:1::5%5D:1234", None),
        ("ipv4:127.0.0.9:1234", None),
        ("ipv6:%5B::1%5D:1234", None),
        ("unix:", None),
        ("unknown", None),
    ],
)
def test_peers_count_by_their_network_but_for_those_that_stand_for_many(peer: str, group: str | None) -> None:
    assert TRUSTED.group_of(peer) == group


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "somewhere", "::/129"])
def test_what_is_no_network_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="is no network such as"):
        network_from(text)


def test_after_many_failures_a_network_has_to_wait_and_no_other_has() -> None:
    clock = ManualClock(0.0)
    logins = FailedLogins(clock=clock)
    for _ in range(50):
        logins.check("192.0.2.0/24")
        logins.failed("192.0.2.0/24")
    with pytest.raises(QuotaExceededError) as refused:
        logins.check("192.0.2.0/24")
    assert refused.value.retry_after_s == pytest.approx(0.5)
    logins.check("198.51.100.0/24")
    clock.advance(0.5)
    logins.check("192.0.2.0/24")


def test_to_be_asked_costs_nothing_and_peers_that_stand_for_many_may_always_try() -> None:
    logins = FailedLogins(clock=ManualClock(0.0))
    for _ in range(1000):
        logins.check("192.0.2.0/24")
        logins.failed(None)
        logins.check(None)
    logins.failed("192.0.2.0/24")
    logins.check("192.0.2.0/24")


def test_of_more_networks_than_are_remembered_the_longest_quiet_is_forgotten() -> None:
    logins = FailedLogins(clock=ManualClock(0.0), max_networks=2)
    for _ in range(60):
        logins.failed("192.0.2.0/24")
    logins.failed("198.51.100.0/24")
    logins.failed("203.0.113.0/24")
    logins.check("192.0.2.0/24")
    assert repr(logins) == "<FailedLogins of 2 networks>"
