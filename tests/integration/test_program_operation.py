# SPDX-License-Identifier: Apache-2.0
"""The program under an operator's hands: taken ports, SIGHUP, shared ports, log lines, gauges, what it is."""

import asyncio
import datetime as dt
import hashlib
import os
import pty
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from testkit.certificates import Authority
from testkit.doors import infer_request
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.program import PROGRAM, running_service
from testkit.readiness import line

NOWHERE = ("--triton", "127.0.0.1:1")
DAY_S = 86_400


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


async def run(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "serve",
        *(*NOWHERE, *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    return process.returncode or 0, error.decode()


async def test_every_port_that_is_taken_is_named_with_its_flag_and_address() -> None:
    with taken_port() as one, taken_port() as two, taken_port() as three:
        code, error = await run(
            *("--listen", f"127.0.0.1:{one}", "--listen", f"127.0.0.1:{two}"),
            *("--metrics-listen", f"127.0.0.1:{three}"),
        )
    assert code == 1
    lines = error.splitlines()
    assert len(lines) == 3
    for flag, port, told in zip(("--listen", "--listen", "--metrics-listen"), (one, two, three), lines, strict=True):
        assert told.startswith(f"matting-gateway: {flag}: Cannot listen on 127.0.0.1:{port}: the port is taken")


def was_reloaded(file: str, told: dict[str, Any]) -> bool:
    return (told["event"], told.get("file")) == ("files_reloaded", file)


def was_called(method: str, told: dict[str, Any]) -> bool:
    return told["event"] == "call" and str(told["method"]).endswith(method)


async def test_sighup_reads_files_at_once_and_a_bad_one_is_refused_by_name_and_ends_nothing(tmp_path: Path) -> None:
    def tenants(token: str) -> str:
        return f'[[tenant]]\nname = "shop"\ntoken_sha256 = ["{hashlib.sha256(token.encode()).hexdigest()}"]\n'

    file = tmp_path / "tenants.toml"
    file.write_text(tenants("first"))
    certificate, key = Authority().issue("gateway").write(tmp_path, "gateway")
    arguments = ("--tenants", str(file), "--tls-certificate", str(certificate), "--tls-key", str(key))
    async with running_service(*NOWHERE, *arguments, serving=False) as service:
        expiry = await service.metric("matting_certificate_expiry_timestamp_seconds", file="gateway.crt")
        file.write_text(tenants("second"))
        Authority().issue("gateway", ends=dt.timedelta(days=2)).write(tmp_path, "gateway")
        service.process.send_signal(signal.SIGHUP)
        assert (await line(service, lambda told: told["event"] == "reload"))["count"] == 2
        for name in ("tenants.toml", "gateway.crt"):
            await line(service, partial(was_reloaded, name))
        later = await service.metric("matting_certificate_expiry_timestamp_seconds", file="gateway.crt")
        assert later - expiry == pytest.approx(DAY_S, abs=600)

        file.write_text("no toml")
        service.process.send_signal(signal.SIGHUP)
        refused = await line(service, lambda told: told["event"] == "files_refused")
        assert refused["file"] == "tenants.toml"
        assert service.process.returncode is None
        assert await service.stop() == 0


async def test_two_gateways_share_a_port_where_both_say_so_and_only_there() -> None:
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        shared = ("--listen", address, "--reuse-port")
        async with (
            running_service(*NOWHERE, *shared, serving=False, listen=False) as first,
            running_service(*NOWHERE, *shared, serving=False, listen=False) as second,
        ):
            assert first.address == second.address == address
            code, error = await run("--listen", address, "--metrics-listen", "")
            assert (code, "the port is taken" in error) == (1, True)
            options = (("grpc.use_local_subchannel_pool", 1),)
            seen: set[str] = set()
            for _ in range(64):
                async with grpc.aio.insecure_channel(address, options=options) as channel:
                    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            for service in (first, second):
                count = await service.metric(
                    "grpc_server_handled_total",
                    grpc_type="unary", grpc_service="grpc.health.v1.Health", grpc_method="Check", grpc_code="OK",
                )  # fmt: skip
                if count:
                    seen.add(service.metrics_address)
            assert len(seen) == 2


@pytest.mark.parametrize("asked", [False, True])
async def test_calls_have_a_level_and_health_checks_a_line_only_where_asked(asked: bool) -> None:
    arguments = ("--log-health-checks",) if asked else ()
    async with running_service(*NOWHERE, *arguments, serving=False) as service:
        await health_pb2_grpc.HealthStub(service.channel).Check(health_pb2.HealthCheckRequest())
        live = service.channel.unary_unary("/inference.GRPCInferenceService/ServerLive", bytes, bytes)
        await live(b"")
        ready = service.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", bytes, bytes)
        with pytest.raises(grpc.aio.AioRpcError):
            await ready(b"\x0a\x03one")
        calls = [await line(service, partial(was_called, name)) for name in ("ServerLive", "ModelInfer")]
        assert [call["level"] for call in calls] == ["info", "warning"]
        checks = [told for told in service.events if told["event"] == "call" and "Health" in told["method"]]
        assert bool(checks) is asked


@pytest.mark.triton
async def test_an_imaging_worker_that_is_killed_is_counted_and_replaced(triton_server: LocalTriton) -> None:
    pixels = pb.PixelImage(data=bytes(8 * 8 * 3), width_px=8, height_px=8, pixel_format=pb.PIXEL_FORMAT_RGB8)
    photo = pb.RemoveBackgroundRequest(pixels=pixels)
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing", "--imaging-workers", "1")
    async with running_service(*arguments) as service:
        assert await service.metric("matting_imaging_workers") == 1
        assert await service.metric("matting_imaging_workers_killed_total") == 0
        (worker,) = psutil.Process(service.process.pid).children()
        worker.kill()
        await service.stub.RemoveBackground(photo).code()  # it may have been handed this one
        await service.stub.RemoveBackground(photo)
        assert await service.metric("matting_imaging_workers_killed_total") == 1
        for state in ("working", "waiting"):
            assert await service.metric("matting_imaging_steps", state=state) == 0


async def test_memory_and_what_it_is_are_told() -> None:
    async with running_service(*NOWHERE, "--memory-budget-mib", "64", serving=False) as service:
        assert await service.metric("matting_memory_budget_bytes") == 64 << 20
        assert await service.metric("matting_memory_available_bytes") == 64 << 20
        built = [
            dict(labels) for (name, labels), value in (await service.metrics()).items() if name == "matting_build_info"
        ]
        assert len(built) == 1
        assert all(built[0].values())


async def test_lines_are_text_on_a_terminal_and_a_closed_terminal_is_the_end() -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "serve", *NOWHERE, "--listen", "127.0.0.1:0", "--metrics-listen", ""),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    told = await asyncio.to_thread(_read_until, ours, b"not_ready")
    assert b" warning not_ready " in told
    assert b'cause="connection refused"' in told
    assert b"{" not in told
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        assert await process.wait() == 0


async def test_the_format_of_lines_can_be_named() -> None:
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "serve", *NOWHERE, "--listen", "127.0.0.1:0", "--metrics-listen", "", "--log-format", "text"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    first = await process.stdout.readline()
    assert b" info    started detail=" in first
    process.terminate()
    await process.communicate()


async def test_the_memory_of_a_call_in_progress_is_not_available() -> None:
    go = asyncio.Event()

    async def slow(request: object) -> NoReturn:
        await go.wait()
        raise ValueError("enough")

    triton = FakeTriton(FakeModel(echo_config("one"), answer=slow))
    async with triton, running_service("--triton", triton.address, "--default-model", "one") as service:
        request = infer_request("one", {"x": ("UINT8", (1, 3), b"abc")}).SerializeToString()
        call = service.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", bytes, bytes)(
            request, timeout=30
        )
        await triton.wait_for_requests(1)
        budget = await service.metric("matting_memory_budget_bytes")
        assert 0 < await service.metric("matting_memory_available_bytes") < budget
        go.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        assert await service.metric("matting_memory_available_bytes") == budget


def _read_until(descriptor: int, word: bytes) -> bytes:
    told = b""
    while word not in told or not told.endswith(b"\n"):
        told += os.read(descriptor, 4096)
    return told
