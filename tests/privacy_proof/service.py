# SPDX-License-Identifier: Apache-2.0
"""A gateway under proof: started as an operator starts it, or one that runs already."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

_START_PATIENCE_S = 120.0
_STOP_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """Where a gateway answers, which processes belong to it, and where its standard output goes (None: elsewhere)."""

    address: str
    metrics_url: str
    pid: int
    log: Path | None = None
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)

    def pids(self) -> list[int]:
        """Return the gateway's process and all that it started, the local Triton's included."""
        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]

    def log_text(self) -> str:
        return "" if self.log is None else self.log.read_text("utf-8", "replace")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self, *, own_connection: bool = True) -> grpc.aio.Channel:
        """Return a channel to it, on a connection that it shares with no other."""
        options: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", int(own_connection)),
        ]
        if self.credentials is not None:
            return grpc.aio.secure_channel(self.address, self.credentials, options)
        return grpc.aio.insecure_channel(self.address, options)


class ServiceDiedError(RuntimeError):
    """The gateway ended, or did not get ready, when it should have served."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(held.getsockname()[1]) for held in sockets]
    for held in sockets:
        held.close()
    return ports


@contextmanager
def started_service(
    *arguments: str,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    repository: Path | None = None,
) -> Iterator[Service]:
    """Run `matting-gateway serve` until the end of the block.

    Args:
        arguments: More of its options.
        prefix: A command to run it under, such as strace's.
        environment: More variables.
        repository: Another model repository than the default one.
    """
    port, metrics_port = free_ports(2)
    program = [sys.executable, "-m", "matting_gateway", "serve"]
    options = ["--listen", f"127.0.0.1:{port}", "--metrics-listen", f"127.0.0.1:{metrics_port}"]
    if repository is not None:
        options += ["--repository", str(repository)]
    with tempfile.NamedTemporaryFile(prefix="gateway-", suffix=".log") as log:
        process = subprocess.Popen(
            [*prefix, *program, *options, *arguments],
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_serving(process, f"127.0.0.1:{port}", Path(log.name))
            pid = _gateway_pid(process.pid)
            yield Service(f"127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics", pid, Path(log.name))
        finally:
            _stop(process)


def _wait_serving(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=_START_PATIENCE_S, wait_for_ready=True)
        with suppress(grpc.RpcError):
            for answer in watch:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    watch.cancel()
                    return
    raise ServiceDiedError(
        f"The gateway did not get ready (exit code {process.poll()}):\n{log.read_text('utf-8', 'replace')[-4000:]}"
    )


def _gateway_pid(pid: int) -> int:
    """Return the gateway's own process where it runs under another program."""
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with suppress(psutil.Error):
            if "matting_gateway" in process.cmdline() and process.name() != "strace":
                return process.pid
    return pid


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(psutil.Error):
            os.kill(_gateway_pid(process.pid), signal.SIGTERM)
        try:
            process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
