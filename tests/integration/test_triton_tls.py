# SPDX-License-Identifier: Apache-2.0
"""Our own certificate towards a remote Triton is renewed while batches are on their way."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
from matting_gateway.clock import SystemClock
from matting_gateway.reloading.client_tls import ClientTlsSettings, client_tls
from testkit.certificates import Authority
from testkit.certificates import replace as replace_file
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.pools import PATIENCE_S, QUICK, WatchedPool, batch_of, key_of, running_pool

KEY = key_of("echo", ("x", "UINT8", (3,)))


class Remote:
    """A Triton behind mutual TLS, and our files for it. `clients` is the one authority that it knows."""

    def __init__(self, folder: Path) -> None:
        self.servers, self.clients = Authority("servers"), Authority("clients")
        self.folder = folder
        server = self.servers.issue("triton", names=("127.0.0.1",))
        credentials = grpc.ssl_server_credentials(
            [(server.key, server.certificate)], self.clients.certificate, require_client_auth=True
        )
        self.triton = FakeTriton(FakeModel(echo_config()), credentials=credentials)
        self.show("first", self.clients)
        ca = replace_file(folder / "ca.crt", self.servers.certificate)
        settings = ClientTlsSettings(ca, folder / "client.crt", folder / "client.key")
        self.reports: list[bool] = []
        tls = client_tls(settings, clock=SystemClock(), on_reload=lambda report: self.reports.append(report.accepted))
        tls.value()
        self.settings = replace(QUICK, tls=tls)

    def show(self, name: str, authority: Authority) -> None:
        """Put another certificate of ours in place."""
        authority.issue_client(name).write(self.folder, "client")


async def send_until(pool: WatchedPool, triton: FakeTriton, enough: Callable[[], bool]) -> None:
    """Send batch after batch; each of them must be answered."""
    async with asyncio.timeout(PATIENCE_S):
        while not enough():
            await pool.run_batch(triton.address, batch_of(KEY, (b"abc",)), PATIENCE_S)


async def test_a_new_certificate_takes_over_without_a_failed_batch(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    async with remote.triton as triton, running_pool(triton.address, settings=remote.settings) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        await send_until(pool, triton, lambda: triton.callers.count("first") > 10)
        remote.show("second", remote.clients)
        await send_until(pool, triton, lambda: triton.callers.count("second") > 10)
        last_of_the_old = max(i for i, name in enumerate(triton.callers) if name == "first")
        assert "second" not in triton.callers[:last_of_the_old]


async def test_a_new_certificate_that_the_server_refuses_leaves_the_old_connection_in_place(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    async with remote.triton as triton, running_pool(triton.address, settings=remote.settings) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        remote.show("stranger", Authority("strangers"))
        await send_until(pool, triton, lambda: True in remote.reports)
        sent = len(triton.callers)
        await send_until(pool, triton, lambda: len(triton.callers) > sent + 100)
        assert set(triton.callers) == {"first"}
        assert pool.can_serve("echo")
        await pool.wait_until(lambda: bool(pool.views()[0].credentials_refused))
        remote.show("third", remote.clients)
        await send_until(pool, triton, lambda: "third" in triton.callers)
        assert pool.views()[0].credentials_refused == ""
