# SPDX-License-Identifier: Apache-2.0
"""Where the server listens, and who it says is at the other end."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_h2.server import listener
from testkit.grpc_loopback import Context, loopback, make_server

PATIENCE_S = 10


async def who(_request: bytes, context: Context) -> bytes:
    return repr((context.peer(), dict(context.auth_context()))).encode()


METHODS: dict[str, tuple[str, Any]] = {"Who": ("unary_unary", who)}


async def ask(channel: grpc.aio.Channel) -> Any:
    async with channel:
        answer = await channel.unary_unary("/test/Who", bytes, bytes)(b"", timeout=PATIENCE_S)
    return eval(answer)  # noqa: S307 - our own repr


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


async def test_a_free_port_is_the_same_on_all_addresses_of_a_host() -> None:
    server = make_server(METHODS)
    port = server.listen("localhost:0")
    await server.start()
    for *_, target in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
        is_v6 = ":" in str(target[0])
        host = f"[{target[0]}]" if is_v6 else target[0]
        if not is_v6 or has_ipv6():
            await ask(grpc.aio.insecure_channel(f"{host}:{port}"))
    await server.stop()


async def test_several_addresses_are_served_at_once() -> None:
    server = make_server(METHODS)
    ports = [server.listen("127.0.0.1:0") for _ in range(2)]
    await server.start()
    for port in ports:
        await ask(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ports[0])


async def test_a_port_that_is_taken_cannot_be_listened_on() -> None:
    async with loopback(METHODS) as served:
        with pytest.raises(OSError, match="taken"):
            make_server(METHODS).listen(served.address)


@pytest.mark.parametrize("address", ["192.0.2.1:0", "127.0.0.1:70000", "127.0.0.1:x", "no.such.host.invalid:0"])
def test_addresses_that_are_none_of_ours_cannot_be_listened_on(address: str) -> None:
    with pytest.raises(OSError, match="Cannot listen"):
        make_server(METHODS).listen(address)


def test_an_address_that_this_machine_does_not_have_is_left_out_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr("grpc_h2.server.listener.socket.getaddrinfo", lambda *_, **__: found)
    sockets, port = listener.bind("both:0")
    assert [sock.getsockname() for sock in sockets] == [("127.0.0.1", port)]
    sockets[0].close()


async def test_a_caller_has_an_address() -> None:
    async with loopback(METHODS) as served:
        peer, auth = await ask(served.channel())
    assert peer.startswith("ipv4:127.0.0.1:")
    assert auth == {}


@needs_ipv6
async def test_a_caller_over_ipv6_is_named_as_grpc_names_him_and_ipv4_comes_in_too() -> None:
    server = make_server(METHODS)
    port = server.listen("[::]:0")
    await server.start()
    assert (await ask(grpc.aio.insecure_channel(f"[::1]:{port}")))[0].startswith("ipv6:%5B::1%5D:")
    assert (await ask(grpc.aio.insecure_channel(f"127.0.0.1:{port}")))[0].startswith("ipv4:127.0.0.1:")
    await server.stop()


async def test_a_unix_socket_is_served_and_gone_after_the_stop(tmp_path: Path) -> None:
    path = tmp_path / "door"
    async with loopback(METHODS, address=f"unix:{path}") as served:
        assert (await ask(served.channel()))[0] == "unix:"
        with pytest.raises(OSError, match="Cannot listen"):
            make_server(METHODS).listen(served.address)
        assert (await ask(served.channel()))[0] == "unix:"
    assert not path.exists()


async def test_a_stale_unix_socket_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    stale, file = tmp_path / "stale", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    async with loopback(METHODS, address=f"unix:{stale}") as served:
        await ask(served.channel())
    file.write_bytes(b"precious")
    with pytest.raises(OSError, match="Cannot listen"):
        make_server(METHODS).listen(f"unix:{file}")
    assert file.read_bytes() == b"precious"


def test_a_unix_socket_whose_owner_is_too_busy_to_accept_is_not_stale(tmp_path: Path) -> None:
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX) as owner, socket.socket(socket.AF_UNIX) as first:
        owner.bind(path)
        owner.listen(0)
        first.connect(path)
        with pytest.raises(OSError, match="Cannot listen"):
            listener.bind(f"unix:{path}")
    assert os.path.exists(path)
