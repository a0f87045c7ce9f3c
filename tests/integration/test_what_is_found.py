# SPDX-License-Identifier: Apache-2.0
"""What is at a Triton's address where no Triton is, told in words that hold nothing of what it says."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_h2.client.status import Failure
from grpc_h2.http2.wire import frames
from matting_gateway.clock import SystemClock
from matting_gateway.errors import BackendUnavailableError, ModelNotFoundError
from matting_gateway.readiness import BackendView
from matting_gateway.reloading.client_tls import ClientIdentity, ClientTlsSettings, client_tls
from matting_gateway.reloading.watched_files import WatchedFiles
from matting_gateway.triton.transport import failures
from testkit.certificates import Authority
from testkit.certificates import replace as replace_file
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.grpc_servers import RawServer
from testkit.http2_client import block_frame
from testkit.listening import Serve, closed, server_of
from testkit.pools import PATIENCE_S, QUICK, batch_of, key_of, running_pool


async def _http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(24)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\n\r\n<html>secret</html>")
    await reader.read()


async def _tls_alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(24)
    writer.write(b"\x15\x03\x03\x00\x02\x02\x46\x15\x03\x03\x00\x02\x02\x46")
    await reader.read()


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(24)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def found(address: str, tls: WatchedFiles[ClientIdentity] | None = None) -> BackendView:
    """Return what a pool sees of its one backend, once it has looked."""
    async with running_pool(address, settings=replace(QUICK, tls=tls)) as pool:
        await pool.wait_until(lambda: bool(pool.views()[0].seen))
        return pool.views()[0]


@pytest.mark.parametrize(
    ("serve", "seen", "advice"),
    [
        (_http1, "it speaks HTTP/1.1 instead of gRPC", "8001"),
        (_tls_alert, "it speaks TLS instead of gRPC", "--triton-tls-ca"),
        (_closes, "the connection is closed at once", "--triton-tls-ca"),
        (_silent, "nothing answers within 0.5 s", "start Triton there"),
    ],
)
async def test_something_else_at_a_tritons_address_is_told_as_what_it_is(serve: Serve, seen: str, advice: str) -> None:
    async with server_of(serve) as address:
        view = await found(address)
    assert (view.healthy, view.seen) == (False, seen)
    assert advice in view.advice


async def test_nobody_at_the_address_is_told_as_a_refused_connection() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        view = await found(f"127.0.0.1:{held.getsockname()[1]}")
    assert view.seen == "connection refused"


async def test_a_grpc_server_that_is_no_triton_is_told_as_such() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        view = await found(f"127.0.0.1:{port}")
    finally:
        await server.stop(None)
    assert view.seen == "the server does not speak the Open Inference Protocol"


async def test_a_name_that_nobody_knows_is_told() -> None:
    view = await found("no-such-host.invalid:8001")
    assert view.address == "no-such-host.invalid:8001"
    assert view.seen.startswith("the name cannot be looked up: ")


async def test_a_caller_is_told_what_was_found_too() -> None:
    async with server_of(_http1) as address, running_pool(address) as pool:
        await pool.wait_until(lambda: bool(pool.views()[0].seen))
        with pytest.raises(BackendUnavailableError) as caught:
            pool.model("echo")
    assert caught.value.message == (
        f"No backend can serve the model now ({address}: it speaks HTTP/1.1 instead of gRPC); try again."
    )


@pytest.mark.parametrize("state", [("LOADING", ""), ("UNAVAILABLE", "/secret/path is missing")])
async def test_a_model_that_is_there_and_not_loaded_is_unavailable_and_not_unknown(state: tuple[str, str]) -> None:
    async with FakeTriton(FakeModel(echo_config())) as triton:
        triton.unready["other"] = state
        async with running_pool(triton.address, settings=replace(QUICK, wanted_model="other")) as pool:
            await pool.wait_until(lambda: pool.can_serve("echo"))
            with pytest.raises(BackendUnavailableError) as caught:
                pool.model("other")
            with pytest.raises(ModelNotFoundError):
                pool.model("none")
    assert caught.value.message == "Model 'other' is not loaded now; try again."


async def test_tls_towards_a_triton_in_the_clear_is_told(tmp_path: Path) -> None:
    ca_file = replace_file(tmp_path / "ca.crt", Authority().certificate)
    tls = client_tls(ClientTlsSettings(ca_file=ca_file), clock=SystemClock())
    async with FakeTriton(FakeModel(echo_config())) as triton:
        view = await found(triton.address, tls)
    assert view.seen.startswith("it does not speak TLS as it should")
    assert "--triton-tls-ca" in view.advice


class Front:
    """Stands before a Triton: passes connections on, until it `changes` and answers new ones itself.

    The channel for questions is opened first, so that it stays; the connection for batches is the next.
    """

    def __init__(self, triton: FakeTriton, change: Serve) -> None:
        self._triton = triton
        self._change = change
        self.changed = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.changed:
            await self._change(reader, writer)
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._triton.port)
        try:
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
        finally:
            await closed(back)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        sink.close()


PAGE = block_frame(1, ((b":status", b"200"), (b"content-type", b"text/html"))) + frames.frame(
    frames.DATA, frames.END_STREAM, 1, b"<html>secret</html>"
)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_http1, "the peer speaks HTTP/1.1"),
        (RawServer(PAGE).serve, "the answer is text/html instead of gRPC"),
        (RawServer(frames.frame(frames.PING, 0, 1, bytes(8))).serve, "a connection's frame on a stream"),
    ],
    ids=["HTTP/1.1", "HTML", "a fault"],
)
async def test_a_batch_that_meets_something_else_is_unavailable_with_what_was_found(change: Serve, found: str) -> None:
    async with FakeTriton(FakeModel(echo_config())) as triton:
        front = Front(triton, change)
        async with server_of(front.serve) as address, running_pool(address) as pool:
            await pool.wait_until(lambda: pool.can_serve("echo"))
            front.changed = True
            batch = batch_of(key_of("echo", ("x", "UINT8", (3,))), (b"abc",))
            with pytest.raises(BackendUnavailableError) as caught:
                await pool.run_batch(address, batch, PATIENCE_S)
    assert found in caught.value.message
    assert "secret" not in caught.value.message


def test_a_batch_that_meets_no_grpc_server_is_unavailable_with_what_was_found() -> None:
    error = Failure(grpc.StatusCode.INTERNAL, "the peer speaks HTTP/1.1", unreachable=True).error()
    told = failures.translate(error, backend="a:1", model="m")
    assert isinstance(told, BackendUnavailableError)
    assert told.message == "Backend a:1 cannot be reached: the peer speaks HTTP/1.1; try again."
    assert failures.endpoint_failed(error)
    assert failures.describe(error) == "the peer speaks HTTP/1.1"


def test_a_request_passed_on_that_meets_a_page_is_unavailable_with_what_was_found() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="Received http2 header with status: 400",
    )
    told = failures.translate_forwarded(error, backend="a:1")
    assert isinstance(told, BackendUnavailableError)
    assert "HTTP status 400 instead of gRPC" in told.message


def test_what_a_triton_says_of_a_request_is_in_no_description() -> None:
    error = Failure(grpc.StatusCode.UNAVAILABLE, "secret words", answered=True).error()
    assert failures.describe(error) == "calls fail with UNAVAILABLE"
