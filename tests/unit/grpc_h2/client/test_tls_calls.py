# SPDX-License-Identifier: Apache-2.0
"""Calls over TLS: trusted is who should be, and nobody else."""

import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
from testkit.certificates import Authority
from testkit.certificates import replace as replace_file
from testkit.grpc_loopback import loopback
from testkit.grpc_servers import caller_of, grpc_server
from testkit.tls_clients import context

PATIENCE_S = 20.0
BODY = bytes(range(256)) * (32 << 10)


async def echo(request: bytes, _context: Any) -> bytes:
    return bytes(request)


async def who(_request: bytes, context: Any) -> bytes:
    return b",".join(context.auth_context().get("x509_common_name", ()))


class Files:
    """Authorities, and our files for a server whose certificate the first of them issued."""

    def __init__(self, folder: Path, *, names: tuple[str, ...] = ("triton.example",)) -> None:
        self.servers, self.clients = Authority("servers"), Authority("clients")
        self.folder = folder
        self.server = self.servers.issue("triton", names=names)
        self.ca_file = replace_file(folder / "ca.crt", self.servers.certificate)

    def trusting(self, *, identity: bool = False, ca_file: Path | None = None) -> ssl.SSLContext:
        pair = self.clients.issue_client("gateway").write(self.folder, "client") if identity else None
        return context(roots=(ca_file or self.ca_file).read_bytes(), identity=pair)

    def credentials(self, *, mutual: bool = False) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(self.server.key, self.server.certificate)],
            self.clients.certificate if mutual else None,
            require_client_auth=mutual,
        )


async def refusal(target: str, **options: Any) -> str:
    async with caller_of(target, **options) as caller:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.call(b"x", PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return caught.value.details() or ""


@pytest.mark.slow
async def test_small_and_large_messages_go_both_ways(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with (
        grpc_server({"Echo": echo}, credentials=files.credentials()) as target,
        caller_of(target, tls=files.trusting(), server_name="triton.example") as caller,
    ):
        for message in (b"x", BODY, b""):
            assert await caller.call([message, BODY], PATIENCE_S) == message + BODY


@pytest.mark.slow
async def test_with_our_own_server_too(tmp_path: Path) -> None:
    files = Files(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*files.server.write(tmp_path, "server"))
    serving.set_alpn_protocols(["h2"])
    async with (
        loopback({"Echo": ("unary_unary", echo)}, tls=lambda: serving) as served,
        caller_of(served.address, tls=files.trusting(), server_name="triton.example") as caller,
    ):
        assert await caller.call(BODY, PATIENCE_S) == BODY


async def test_the_server_learns_who_we_are(tmp_path: Path) -> None:
    files = Files(tmp_path)
    async with grpc_server({"Who": who}, credentials=files.credentials(mutual=True)) as target:
        tls = files.trusting(identity=True)
        async with caller_of(target, "Who", tls=tls, server_name="triton.example") as caller:
            assert await caller.call(b"", PATIENCE_S) == b"gateway"
        await refusal(target, tls=files.trusting(), server_name="triton.example")


async def test_an_address_may_be_what_the_certificate_names(tmp_path: Path) -> None:
    files = Files(tmp_path, names=("127.0.0.1",))
    async with grpc_server({"Echo": echo}, credentials=files.credentials()) as target:
        async with caller_of(target, tls=files.trusting(), server_name="127.0.0.1") as caller:
            assert await caller.call(b"x", PATIENCE_S) == b"x"
        assert "certificate" in await refusal(target, tls=files.trusting(), server_name="127.0.0.2")


async def test_a_server_with_another_name_or_of_another_authority_is_asked_nothing(tmp_path: Path) -> None:
    files = Files(tmp_path)
    stranger = replace_file(tmp_path / "stranger.crt", Authority("stranger").certificate)
    async with grpc_server({"Echo": echo}, credentials=files.credentials()) as target:
        assert "certificate" in await refusal(target, tls=files.trusting(), server_name="other.example")
        strange = files.trusting(ca_file=stranger)
        assert "certificate" in await refusal(target, tls=strange, server_name="triton.example")
        assert "certificate" not in await refusal(target)


async def test_a_server_that_does_not_choose_http2_is_asked_nothing(tmp_path: Path) -> None:
    files = Files(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*files.server.write(tmp_path, "server"))
    async with loopback({"Echo": ("unary_unary", echo)}, tls=lambda: serving) as served:
        text = await refusal(served.address, tls=files.trusting(), server_name="triton.example")
    assert "HTTP/2" in text
