# SPDX-License-Identifier: Apache-2.0
"""Addresses become one target; credentials do not leak."""

import json
from collections.abc import Sequence

import pytest
from matting_client.transport.connection import Connection, Tls, channel_options, channel_target

NAMES = {"a.example": ["10.0.0.1"], "b.example": ["10.0.0.2", "10.0.0.3"], "six.example": ["fd00::6"]}


def resolve(host: str, port: int) -> Sequence[str]:
    return NAMES.get(host, [host])


@pytest.mark.parametrize(
    ("addresses", "target"),
    [
        (["gateway:50051"], "dns:///gateway:50051"),
        (["127.0.0.1:1"], "dns:///127.0.0.1:1"),
        (["dns:///gateway:1"], "dns:///gateway:1"),
        (["unix:/run/m.sock"], "unix:/run/m.sock"),
        (["unix:/a", "unix:/b"], "unix:/a,/b"),
        (["10.0.0.8:1", "10.0.0.9:2"], "ipv4:10.0.0.8:1,10.0.0.9:2"),
        (["a.example:1", "b.example:2"], "ipv4:10.0.0.1:1,10.0.0.2:2,10.0.0.3:2"),
        (["[fd00::1]:1", "a.example:2"], "ipv6:[fd00::1]:1,[::ffff:10.0.0.1]:2"),
        (["six.example:1", "[::1]:2"], "ipv6:[fd00::6]:1,[::1]:2"),
    ],
)
def test_addresses_become_a_target(addresses: list[str], target: str) -> None:
    assert channel_target(addresses, resolve) == target


def test_sockets_and_tcp_do_not_mix() -> None:
    with pytest.raises(ValueError, match="cannot be mixed"):
        channel_target(["unix:/a", "127.0.0.1:1"], resolve)


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:0", "host:70000", "host:x", "unix:"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|socket"):
        Connection((address,))


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one server"):
        Connection(())


@pytest.mark.parametrize("address", ["gateway:1", "10.1.2.3:1", "[fd00::1]:1"])
def test_a_token_does_not_travel_readable_to_another_machine(address: str) -> None:
    with pytest.raises(ValueError, match="readable"):
        Connection((address,), token="secret")
    assert Connection((address,), token="secret", token_over_plaintext=True).credential_metadata()
    assert Connection((address,), token="secret", tls=Tls()).credential_metadata()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/m.sock"])
def test_a_token_may_travel_within_this_machine(address: str) -> None:
    assert Connection((address,), token="secret").credential_metadata() == (("authorization", "Bearer secret"),)


def test_a_token_can_change_while_the_client_lives() -> None:
    tokens = iter(["first", "second"])
    connection = Connection(token=lambda: next(tokens))
    assert [connection.credential_metadata()[0][1] for _ in range(2)] == ["Bearer first", "Bearer second"]


def test_the_repr_does_not_tell_the_token() -> None:
    assert "secret" not in repr(Connection(token="secret"))


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="both"):
        Tls(certificate_file="client.pem")


def test_health_is_asked_of_several_addresses_and_not_of_one() -> None:
    def config(connection: Connection) -> dict[str, object]:
        loaded: dict[str, object] = json.loads(str(dict(channel_options(connection))["grpc.service_config"]))
        return loaded

    assert "healthCheckConfig" not in config(Connection(("127.0.0.1:1",)))
    assert "healthCheckConfig" in config(Connection(("127.0.0.1:1", "127.0.0.1:2")))


def test_joined_addresses_keep_the_name_that_the_certificate_carries() -> None:
    joined = dict(channel_options(Connection(("a.example:1", "b.example:2"), Tls())))
    named = dict(channel_options(Connection(("10.0.0.1:1",), Tls(server_name="gateway"))))
    assert joined["grpc.ssl_target_name_override"] == "a.example"
    assert named["grpc.ssl_target_name_override"] == "gateway"
    assert "grpc.ssl_target_name_override" not in dict(channel_options(Connection(("gateway:1",), Tls())))
