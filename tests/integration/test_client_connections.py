# SPDX-License-Identifier: Apache-2.0
"""How a client reaches its servers: several of them, Unix sockets, TLS."""

from pathlib import Path

import grpc
import pytest
from matting_client import Client, MattingError, RetryPolicy, ServerUnreachableError, Tls
from testkit.certificates import Authority
from testkit.fake_gateway import FakeGateway


def test_calls_go_round_over_several_servers() -> None:
    with FakeGateway() as first, FakeGateway() as second, Client(first.address, second.address) as client:
        for _ in range(200):
            client.remove_background(b"photo")
            if first.calls and second.calls:
                break
        assert first.calls
        assert second.calls


def test_a_server_that_does_not_serve_is_left_out() -> None:
    with (
        FakeGateway(serving=False) as idle,
        FakeGateway() as serving,
        Client(idle.address, serving.address) as client,
    ):
        for _ in range(10):
            client.remove_background(b"photo")
        assert not idle.calls


def test_a_server_that_goes_away_is_left_out() -> None:
    with FakeGateway() as second, Client("127.0.0.1:1", second.address) as client:
        with FakeGateway() as gone:
            address = gone.address
        with Client(address, second.address) as other:
            other.remove_background(b"photo")
        client.remove_background(b"photo")
        assert len(second.calls) == 2


def test_a_server_that_comes_back_is_found_again() -> None:
    with FakeGateway() as first:
        address = first.address
    patient = RetryPolicy(max_attempts=100, budget_tokens=100)
    with Client(address, retry=patient) as client:
        with pytest.raises(ServerUnreachableError):
            client.remove_background(b"photo", timeout_s=0.05)
        with FakeGateway(address=address):
            client.remove_background(b"photo")


def test_a_unix_socket_serves(tmp_path: Path) -> None:
    with FakeGateway(address=f"unix:{tmp_path}/m.sock") as gateway, Client(gateway.address, token="x") as client:
        client.remove_background(b"photo")
    assert len(gateway.calls) == 1


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def server_credentials(authority: Authority, *, mutual: bool) -> grpc.ServerCredentials:
    issued = authority.issue("gateway", names=("localhost", "gateway.example"))
    return grpc.ssl_server_credentials(
        [(issued.key, issued.certificate)], authority.certificate if mutual else None, mutual
    )


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.certificate)
    return path


def localhost(gateway: FakeGateway) -> str:
    return gateway.address.replace("127.0.0.1", "localhost")


def test_tls_by_the_name_in_the_address(authority: Authority, ca_file: Path) -> None:
    with (
        FakeGateway(credentials=server_credentials(authority, mutual=False)) as gateway,
        Client(localhost(gateway), tls=Tls(ca_file), token="mine") as client,
    ):
        client.remove_background(b"photo")
        assert gateway.calls[0].metadata["authorization"] == "Bearer mine"


def test_tls_by_another_name(authority: Authority, ca_file: Path) -> None:
    with FakeGateway(credentials=server_credentials(authority, mutual=False)) as gateway:
        with Client(gateway.address, tls=Tls(ca_file, server_name="gateway.example")) as client:
            client.remove_background(b"photo")
        with (
            Client(gateway.address, tls=Tls(ca_file, server_name="other.example")) as client,
            pytest.raises(ServerUnreachableError),
        ):
            client.remove_background(b"photo", timeout_s=1.0)


def test_tls_to_several_joined_by_one_name(authority: Authority, ca_file: Path) -> None:
    credentials = server_credentials(authority, mutual=False)
    with (
        FakeGateway(credentials=credentials) as first,
        FakeGateway(credentials=credentials) as second,
        Client(localhost(first), localhost(second), tls=Tls(ca_file)) as client,
    ):
        client.remove_background(b"photo")
        assert first.calls or second.calls


def test_a_server_of_a_stranger_is_not_trusted(ca_file: Path) -> None:
    with (
        FakeGateway(credentials=server_credentials(Authority("stranger"), mutual=False)) as gateway,
        Client(localhost(gateway), tls=Tls(ca_file)) as client,
    ):
        with pytest.raises(MattingError):
            client.remove_background(b"photo", timeout_s=1.0)
        assert not gateway.calls


def test_mutual_tls(authority: Authority, ca_file: Path, tmp_path: Path) -> None:
    certificate, key = authority.issue_client("caller").write(tmp_path, "caller")
    with FakeGateway(credentials=server_credentials(authority, mutual=True)) as gateway:
        with Client(localhost(gateway), tls=Tls(ca_file, certificate, key)) as client:
            client.remove_background(b"photo")
        with Client(localhost(gateway), tls=Tls(ca_file)) as client, pytest.raises(MattingError):
            client.remove_background(b"photo", timeout_s=1.0)
        assert len(gateway.calls) == 1


def test_a_missing_tls_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"gone\.pem"):
        Client(tls=Tls(tmp_path / "gone.pem"))
