# SPDX-License-Identifier: Apache-2.0
"""`matting-gateway health` against real gateways: exit codes, TLS, wrong authorities, sockets, who never answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from matting_gateway.rpc.settings import TlsSettings
from testkit.certificates import Authority
from testkit.certificates import replace as replace_file
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.gateway import RunningGateway, running_gateway, wait_serving
from testkit.listening import server_of
from testkit.program import PROGRAM


async def health(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run it; return exit code, output, and what it has to say of failures."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "health",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    output, error = await process.communicate()
    return process.returncode or 0, output.decode(), error.decode()


@asynccontextmanager
async def gateway(*, serving: bool = True, **changes: object) -> AsyncIterator[str]:
    """Yield the address of a gateway in the clear, before a Triton that is there or not."""
    async with FakeTriton(FakeModel(echo_config("one"))) as triton:
        backend = triton.address if serving else "127.0.0.1:1"
        async with running_gateway(backend, default_model="one", serving=serving, **changes) as running:
            yield running.address


async def test_a_gateway_that_serves_is_zero_and_named_by_the_variable_of_its_own_address_too() -> None:
    async with gateway() as address:
        assert await health("--address", address) == (0, f"{address}: SERVING\n", "")
        port = address.rpartition(":")[2]
        environment = {"MATTING_LISTEN": f"0.0.0.0:{port}", "PATH": ""}
        assert await health(environment=environment) == (0, f"{address}: SERVING\n", "")
        assert (await health("--address", address, "--service", "model/one"))[0] == 0
        code, _, error = await health("--address", address, "--service", "model/two")
        assert (code, "NOT_FOUND" in error) == (1, True)


async def test_a_gateway_that_does_not_serve_is_one() -> None:
    async with gateway(serving=False) as address:
        assert await health("--address", address) == (1, "", f"{address}: NOT_SERVING\n")


async def test_nobody_at_the_address_is_one_without_a_stack() -> None:
    assert await health("--address", "127.0.0.1:1") == (
        1,
        "",
        "127.0.0.1:1: UNAVAILABLE: no connection to 127.0.0.1:1: connection refused\n",
    )
    code, _, error = await health("--address", "unix:/no/such/socket")
    assert (code, error.count("\n")) == (1, 1)


async def test_who_takes_the_connection_and_says_nothing_is_one_in_time() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        gone.set()

    async with server_of(silent) as address:
        code, _, error = await health("--address", address, "--timeout-s", "0.3")
        await gone.wait()
    assert (code, error) == (1, f"{address}: DEADLINE_EXCEEDED: no answer within 0.3 s\n")


async def test_by_tls_the_right_authority_is_zero_and_every_other_way_is_one(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue("gateway", names=("gateway.example", "127.0.0.1")).write(tmp_path, "gateway")
    ca = str(replace_file(tmp_path / "ca.crt", authority.certificate))
    stranger = str(replace_file(tmp_path / "stranger.crt", Authority("stranger").certificate))
    caller = authority.issue_client("probe").write(tmp_path, "probe")
    tls = TlsSettings(certificate, key, client_ca_file=Path(ca))
    shown = ("--tls-certificate", str(caller[0]), "--tls-key", str(caller[1]))
    async with tls_gateway(tls, tmp_path) as address:
        asked = ("--address", address, *shown)
        assert (await health(*asked, "--tls-ca", ca))[0] == 0
        assert (await health(*asked, "--tls-ca", ca, "--server-name", "gateway.example"))[0] == 0
        code, _, error = await health(*asked, "--tls-ca", stranger)
        assert (code, "self-signed" in error or "unable to get local issuer" in error) == (1, True)
        code, _, error = await health(*asked, "--tls-ca", ca, "--server-name", "other.example")
        assert (code, "other.example" in error) == (1, True)
        assert (await health("--address", address, "--tls-ca", ca))[0] == 1  # it wants a client's certificate
        assert (await health("--address", address))[0] == 1  # in the clear
    async with gateway() as address:
        assert (await health("--address", address, "--tls-ca", ca))[0] == 1


@asynccontextmanager
async def tls_gateway(tls: TlsSettings, folder: Path) -> AsyncIterator[str]:
    """Yield the address of a gateway by TLS that serves, which is waited for by a socket in the clear."""
    path = f"unix:{folder}/gateway"
    triton = FakeTriton(FakeModel(echo_config("one")))
    async with triton, tls_on(triton, tls, path) as running, grpc.aio.insecure_channel(path) as channel:
        await wait_serving(channel)
        yield running.address


def tls_on(triton: FakeTriton, tls: TlsSettings, path: str) -> AbstractAsyncContextManager[RunningGateway]:
    return running_gateway(triton.address, default_model="one", serving=False, tls=tls, listen=("127.0.0.1:0", path))


async def test_a_socket_is_asked_like_an_address(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/gateway"
    async with gateway(listen=("127.0.0.1:0", path)):
        assert await health("--address", path) == (0, f"{path}: SERVING\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--address", "banana"),
        ("--address", "127.0.0.1:0"),
        ("--timeout-s", "0"),
        ("--tls-ca", "/no/such/file"),
        ("--tls-key", __file__, "--address", "127.0.0.1:1"),
        ("--tls-ca", __file__, "--address", "127.0.0.1:1"),
        ("--nonsense",),
    ],
)
async def test_wrong_use_is_two(arguments: tuple[str, ...]) -> None:
    code, output, error = await health(*arguments)
    assert (code, output) == (2, "")
    assert "Error: " in error
    assert "Traceback" not in error
