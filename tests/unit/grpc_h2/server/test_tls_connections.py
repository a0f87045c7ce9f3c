# SPDX-License-Identifier: Apache-2.0
"""TLS: each connection with the certificates of its moment, and no handshake that fails is anybody else's trouble."""

import asyncio
import errno
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import FaultKind
from grpc_h2.server import listener
from testkit.certificates import Authority, Issued
from testkit.grpc_loopback import CHANNEL_OPTIONS, Context, loopback

PATIENCE_S = 10
BODY = bytes(range(256)) * (16 << 10)


async def who(_request: bytes, context: Context) -> bytes:
    return repr((context.peer(), dict(context.auth_context()))).encode()


async def echo(request: bytes, _context: Context) -> bytes:
    return bytes(request)


METHODS: dict[str, tuple[str, Any]] = {"Who": ("unary_unary", who), "Echo": ("unary_unary", echo)}


async def ask(channel: grpc.aio.Channel) -> Any:
    async with channel:
        answer = await channel.unary_unary("/test/Who", bytes, bytes)(b"", timeout=PATIENCE_S)
    return eval(answer)  # noqa: S307 - our own repr


def context_of(folder: Path, issued: Issued, callers: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issued.write(folder, "server"))
    context.set_alpn_protocols(["h2"])
    if callers is not None:
        context.load_verify_locations(cadata=callers.certificate.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def secure(address: str, authority: Authority, me: Issued | None = None) -> grpc.aio.Channel:
    own = (me.key, me.certificate) if me is not None else (None, None)
    options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1), *CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority.certificate, *own), options)


async def test_each_connection_gets_the_certificate_of_its_moment(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    contexts = [context_of(tmp_path, authority.issue("server")) for authority in (old, new)]
    now = contexts[0]
    async with loopback(METHODS, tls=lambda: now) as served:
        first = secure(served.address, old)
        await first.unary_unary("/test/Who", bytes, bytes)(b"")
        now = contexts[1]
        await ask(secure(served.address, new))
        await ask(first)  # what is open stays as it is


async def test_a_verified_certificates_names_are_known(tmp_path: Path) -> None:
    authority = Authority()
    me = authority.issue("my name", names=("one.example", "10.0.0.1"), client=True)
    context = context_of(tmp_path, authority.issue("server"), authority)
    async with loopback(METHODS, tls=lambda: context) as served:
        _, auth = await ask(secure(served.address, authority, me))
    assert sorted(auth["x509_subject_alternative_name"]) == [b"10.0.0.1", b"one.example"]
    assert auth["x509_common_name"] == (b"my name",)


async def test_handshakes_that_fail_leave_nothing_and_stop_nobody(tmp_path: Path) -> None:
    authority = Authority()
    me = authority.issue("me", client=True)
    context = context_of(tmp_path, authority.issue("server"), authority)
    async with loopback(METHODS, tls=lambda: context) as served:
        host, _, port = served.address.rpartition(":")
        for _ in range(5):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                await reader.read()
            writer.close()
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(secure(served.address, Authority(), me))
        await ask(secure(served.address, authority, me))


async def test_files_that_cannot_be_used_cost_one_connection_only(tmp_path: Path) -> None:
    authority = Authority()
    context = context_of(tmp_path, authority.issue("server"))
    answers: list[ssl.SSLContext | ValueError] = [ValueError("they do not fit"), context]

    def tls() -> ssl.SSLContext:
        answer = answers.pop(0)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    async with loopback(METHODS, tls=tls) as served:
        host, _, port = served.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()
        await ask(secure(served.address, authority))


async def test_no_free_file_descriptor_is_no_reason_never_to_accept_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    context = context_of(tmp_path, authority.issue("server"))
    loop, failures = asyncio.get_running_loop(), [OSError(errno.EMFILE, "too many open files")]
    again = asyncio.Event()

    class Loop:
        async def sock_accept(self, sock: socket.socket) -> Any:
            if failures:
                raise failures.pop()
            again.set()
            return await loop.sock_accept(sock)

    monkeypatch.setattr(listener, "_ACCEPT_AGAIN_S", 0.0)
    monkeypatch.setattr("grpc_h2.server.listener.asyncio.get_running_loop", Loop)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        door = listener.Listener([], asyncio.Protocol, lambda: context, timeout_s=1)
        accepting = loop.create_task(door._accept(listening, lambda: context))
        async with asyncio.timeout(PATIENCE_S):
            await again.wait()
        accepting.cancel()
        await asyncio.wait([accepting])


@pytest.mark.slow
async def test_large_messages_go_there_and_back_encrypted(tmp_path: Path) -> None:
    authority = Authority()
    context = context_of(tmp_path, authority.issue("server"))
    async with loopback(METHODS, tls=lambda: context) as served, secure(served.address, authority) as channel:
        assert await channel.unary_unary("/test/Echo", bytes, bytes)(BODY) == BODY


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
async def test_who_does_not_agree_on_h2_by_alpn_is_turned_away_and_told_of(
    tmp_path: Path, protocols: list[str]
) -> None:
    authority, faults = Authority(), list[FaultKind]()
    context = context_of(tmp_path, authority.issue("server"))
    mine = ssl.create_default_context(cadata=authority.certificate.decode())
    if protocols:
        mine.set_alpn_protocols(protocols)
    async with loopback(
        METHODS, tls=lambda: context, on_fault=lambda kind, _text, _peer: faults.append(kind)
    ) as served:
        host, _, port = served.address.rpartition(":")
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=mine, server_hostname="localhost")
            writer.write(frames.PREFACE + frames.settings({}))
            assert await reader.read() == b""
        writer.close()
        await ask(secure(served.address, authority))
    assert faults == [FaultKind.NO_ALPN]
