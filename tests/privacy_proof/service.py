# SPDX-License-Identifier: Apache-2.0
"""A gateway under proof: started as an operator starts it, or one that runs already."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

_START_PATIENCE_S = 120.0
_STOP_PATIENCE_S = 60.0


class ServiceDiedError(RuntimeError):
    """The gateway ended, or did not get ready, when it should have served."""


class Output:
    """What a process writes, line by line. Owns the thread that reads it; others wait for what they want to see."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        with self._news:
            return "".join(self._lines)

    def events(self) -> list[dict[str, Any]]:
        """Return the lines that are JSON objects."""
        found = []
        for line in self.text().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for an event.

        Raises:
            ServiceDiedError: The output ended, or it took too long.
        """

        def seen() -> dict[str, Any] | None:
            return next((event for event in self.events() if wanted(event)), None)

        with self._news:
            self._news.wait_for(lambda: self._ended or seen() is not None, _START_PATIENCE_S)
            event = seen()
        if event is None:
            raise ServiceDiedError(f"The gateway did not get so far (exit code {self._process.poll()}):\n{self.text()}")
        return event

    def close(self) -> None:
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@dataclass(frozen=True, slots=True)
class Service:
    """Where a gateway answers, which process it is, and what it writes (None: that goes elsewhere)."""

    address: str
    metrics_url: str
    pid: int
    output: Output | None = None
    credentials: grpc.ChannelCredentials | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)

    def pids(self) -> list[int]:
        """Return the gateway's process and all that it started, the local Triton's included."""
        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def blocking_channel(self) -> grpc.Channel:
        """Return a channel for callers without an event loop."""
        if self.credentials is not None:
            return grpc.secure_channel(self.address, self.credentials)
        return grpc.insecure_channel(self.address)

    def channel(self) -> grpc.aio.Channel:
        """Return a channel to it, on a connection that it shares with no other."""
        options = (
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        )
        if self.credentials is not None:
            return grpc.aio.secure_channel(self.address, self.credentials, options)
        return grpc.aio.insecure_channel(self.address, options)


@contextmanager
def started_service(
    *arguments: str,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    wait_backend: bool = True,
    credentials: grpc.ChannelCredentials | None = None,
) -> Iterator[Service]:
    """Run `matting-gateway serve` until the end of the block.

    Args:
        arguments: More of its options.
        prefix: A command to run it under, such as strace's.
        environment: More variables.
        wait_backend: Whether to wait until its backend can serve, too.
        credentials: What its doors ask of a client, where they speak TLS.
    """
    command = [*prefix, sys.executable, "-m", "matting_gateway", "serve"]
    command += ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", *arguments]
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output = Output(process)
    try:
        address = output.wait_for(lambda e: e.get("event") == "listening" and e["state"] == "grpc")["address"]
        metrics = output.wait_for(lambda e: e.get("event") == "listening" and e["state"] == "metrics")["address"]
        if credentials is not None:
            address = address.replace("127.0.0.1", "localhost")
        service = Service(address, f"http://{metrics}/metrics", _gateway_pid(process.pid), output, credentials)
        if wait_backend:
            _wait_serving(service, output)
        yield service
    finally:
        _stop(process)
        output.close()


def _wait_serving(service: Service, output: Output) -> None:
    with service.blocking_channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=_START_PATIENCE_S, wait_for_ready=True
        )
        with suppress(grpc.RpcError):
            for answer in watch:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    watch.cancel()
                    return
    raise ServiceDiedError(f"The gateway's backend did not get ready:\n{output.text()[-4000:]}")


def _gateway_pid(pid: int) -> int:
    """Return the gateway's own process where it runs under another program."""
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with suppress(psutil.Error):
            if "matting_gateway" in process.cmdline() and process.name() != "strace":
                return process.pid
    return pid


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with suppress(psutil.Error):
            os.kill(_gateway_pid(process.pid), signal.SIGTERM)
        try:
            process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
