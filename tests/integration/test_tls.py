# SPDX-License-Identifier: Apache-2.0
"""The listener's TLS, told by real handshakes with the real program. Its backend is away: nothing here needs one."""

import datetime as dt
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from privacy_proof.service import Service, started_service
from testkit.certificates import Authority, Issued, replace
from testkit.tls_clients import RefusedError, context, handshake, plain_bytes

# Nobody listens there: no call that needs a backend is made.
NO_TRITON = ("--triton", "127.0.0.1:1")
DAY = dt.timedelta(days=1)
V1_0, V1_1, V1_2, V1_3 = (
    ssl.TLSVersion.TLSv1,
    ssl.TLSVersion.TLSv1_1,
    ssl.TLSVersion.TLSv1_2,
    ssl.TLSVersion.TLSv1_3,
)
# TLS 1.0 and 1.1 are old news to the ssl module too.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")


@dataclass(frozen=True)
class Door:
    """A gateway behind TLS, and the authorities it knows."""

    service: Service
    folder: Path
    authority: Authority
    client_authority: Authority

    def call(self, credentials: grpc.ChannelCredentials) -> pb.GetDataPolicyResponse:
        with grpc.secure_channel(self.service.address.replace("127.0.0.1", "localhost"), credentials) as channel:
            stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
            answer: pb.GetDataPolicyResponse = stub.GetDataPolicy(pb.GetDataPolicyRequest(), timeout=10)
            return answer

    def client(self, identity: Issued | None, *, roots: bytes | None = None) -> grpc.ChannelCredentials:
        key, chain = (None, None) if identity is None else (identity.key, identity.certificate)
        return grpc.ssl_channel_credentials(roots or self.authority.certificate, key, chain)


def opened(folder: Path, *, key_kind: str = "ec", mutual: bool = False, **issue: Any) -> Iterator[Door]:
    authority, client_authority = Authority("servers"), Authority("clients")
    issued = authority.issue("localhost", names=("localhost", "127.0.0.1"), key_kind=key_kind, **issue)
    certificate, key = issued.write(folder, "server")
    arguments = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    if mutual:
        ca = replace(folder / "ca.crt", client_authority.certificate)
        arguments += ["--tls-client-ca", str(ca)]
    with started_service(*NO_TRITON, *arguments, wait_backend=False) as service:
        yield Door(service, folder, authority, client_authority)


@pytest.fixture(scope="module", params=["ec", "rsa"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    yield from opened(tmp_path_factory.mktemp("tls"), key_kind=request.param)


@pytest.fixture(scope="module")
def mutual_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    yield from opened(tmp_path_factory.mktemp("mutual"), mutual=True)


def test_tls_1_3_is_spoken(door: Door) -> None:
    assert handshake(door.service.address, context(roots=door.authority.certificate)) == "TLSv1.3"


@pytest.mark.parametrize("version", [V1_0, V1_1, V1_2])
def test_older_versions_are_refused(door: Door, version: ssl.TLSVersion) -> None:
    with pytest.raises(RefusedError):
        handshake(door.service.address, context(roots=None, versions=(version, version)))


@pytest.mark.parametrize(
    "cipher",
    [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "AES128-SHA",
        "PSK",
    ],
)
def test_no_cipher_suite_gets_tls_1_2_in(door: Door, cipher: str) -> None:
    with pytest.raises(RefusedError):
        handshake(door.service.address, context(roots=None, versions=(V1_2, V1_2), ciphers=f"{cipher}:@SECLEVEL=0"))


def test_who_offers_both_gets_1_3(door: Door) -> None:
    assert handshake(door.service.address, context(roots=None, versions=(V1_2, V1_3))) == "TLSv1.3"


@pytest.mark.parametrize(
    "sent",
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", bytes(64)],
)
def test_what_is_no_tls_gets_no_answer_in_the_clear(door: Door, sent: bytes) -> None:
    answer = plain_bytes(door.service.address, sent)
    assert b"HTTP" not in answer
    assert len(answer) <= 7  # a TLS alert at most


def test_a_grpc_client_is_served(door: Door) -> None:
    policy = door.call(door.client(None)).policy
    (statement,) = [s for s in policy.statements if s.topic == "transport.callers"]
    assert statement.values["listener_0"] == "loopback, TLS 1.3"


def test_a_client_that_trusts_another_authority_does_not_come_in(door: Door) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(door.service.address, context(roots=Authority("servers").certificate))


def test_a_client_that_expects_another_name_does_not_come_in(door: Door) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(door.service.address, context(roots=door.authority.certificate), name="other.example")


def test_a_client_sees_that_the_servers_time_is_over(tmp_path: Path) -> None:
    for door in opened(tmp_path, starts=-2 * DAY, ends=-DAY):
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            handshake(door.service.address, context(roots=door.authority.certificate))


def test_a_known_client_is_served(mutual_door: Door) -> None:
    identity = mutual_door.client_authority.issue_client("shop.internal")
    policy = mutual_door.call(mutual_door.client(identity)).policy
    (statement,) = [s for s in policy.statements if s.topic == "transport.callers"]
    assert statement.values["listener_0"] == "loopback, TLS 1.3, mutual"


def stranger(door: Door) -> Issued:
    return Authority("strangers").issue_client("shop.internal")


def namesake(door: Door) -> Issued:
    """Of an authority of the same name, with another key."""
    return Authority(door.client_authority.name).issue_client("shop.internal")


def expired(door: Door) -> Issued:
    return door.client_authority.issue_client("shop.internal", starts=-2 * DAY, ends=-DAY)


def not_yet_valid(door: Door) -> Issued:
    return door.client_authority.issue_client("shop.internal", starts=DAY, ends=2 * DAY)


def self_signed(door: Door) -> Issued:
    authority = Authority("shop.internal")
    return Issued(authority.certificate, authority.key_pem())


def for_servers(door: Door) -> Issued:
    """Signed by the right authority, but for servers to use."""
    return door.client_authority.issue("shop.internal")


def of_the_servers_authority(door: Door) -> Issued:
    return door.authority.issue_client("shop.internal")


@pytest.mark.parametrize(
    "identity", [None, stranger, namesake, expired, not_yet_valid, self_signed, for_servers, of_the_servers_authority]
)
def test_any_other_client_is_refused(mutual_door: Door, identity: object) -> None:
    shown = identity(mutual_door) if callable(identity) else None
    with pytest.raises(grpc.RpcError) as refused:
        mutual_door.call(mutual_door.client(shown))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert mutual_door.call(mutual_door.client(mutual_door.client_authority.issue_client("next"))).policy.version


def test_mutual_tls_refuses_1_2_as_well(mutual_door: Door) -> None:
    identity = mutual_door.client_authority.issue_client("shop.internal").write(mutual_door.folder, "client")
    with pytest.raises(RefusedError):
        handshake(mutual_door.service.address, context(roots=None, versions=(V1_2, V1_2), identity=identity))
    assert handshake(mutual_door.service.address, context(roots=None, identity=identity)) == "TLSv1.3"


def test_an_authority_that_is_removed_lets_nobody_in_any_more(tmp_path: Path) -> None:
    for door in opened(tmp_path, mutual=True):
        first, second = Authority("first"), Authority("second")
        for authority in (first, second):
            replace(tmp_path / "ca.crt", authority.certificate)
            assert door.service.output is not None
            reload_count = door.service.output.text().count("files_reloaded")
            wait_reloaded(door, authority, reload_count)
        with pytest.raises(grpc.RpcError):
            door.call(door.client(first.issue_client("a")))
        assert door.call(door.client(second.issue_client("a"))).policy.version


def wait_reloaded(door: Door, authority: Authority, reload_count: int) -> None:
    """Knock until the door looks at its files again: it does so at a handshake, once a second."""
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    while dt.datetime.now(dt.UTC) < deadline:
        try:
            door.call(door.client(authority.issue_client("a")))
        except grpc.RpcError:
            continue
        return
    pytest.fail(f"the new authority was not taken over; {reload_count} reloads before")


def test_files_that_do_not_fit_together_stop_the_start(tmp_path: Path) -> None:
    authority = Authority()
    certificate, _ = authority.issue("a").write(tmp_path, "a")
    _, key = authority.issue("b").write(tmp_path, "b")
    arguments = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with pytest.raises(Exception, match="KEY_VALUES_MISMATCH"), started_service(*NO_TRITON, *arguments):
        pass


@pytest.mark.parametrize(
    "arguments",
    [("--listen", "0.0.0.0:0", *NO_TRITON), ("--triton", "triton.example:8001")],
)
def test_a_network_in_the_clear_is_refused_at_start(arguments: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match="--allow-plaintext"), started_service(*arguments):
        pass


def test_what_is_allowed_by_name_shows_in_the_data_policy() -> None:
    arguments = ("--listen", "0.0.0.0:0", "--allow-plaintext", "0.0.0.0:0", *NO_TRITON)
    with started_service(*arguments, wait_backend=False) as service, grpc.insecure_channel(service.address) as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        policy = stub.GetDataPolicy(pb.GetDataPolicyRequest(), timeout=10).policy
    (statement,) = [s for s in policy.statements if s.topic == "transport.callers"]
    assert not statement.kept
    assert "network, in the clear" in statement.values.values()
