# SPDX-License-Identifier: Apache-2.0
"""A real Triton with the model of known latency in several settings, and a gateway process before it."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from testkit.local_triton import CACHE_DIR, TEST_MODELS

# 20 ms + 5 ms a row, at most 8 rows, one instance: 8 rows in 60 ms.
CAPACITY = 8 / 0.060

# How Triton's own batcher is set up, by the name of the model.
SETTINGS = {
    "delay": "",  # no batcher: what the gateway sends is one batch
    "delay_untuned": "dynamic_batching { }",
    "delay_tuned": (
        "dynamic_batching { default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 200000 } }"
    ),
    "delay_override": (
        "dynamic_batching { default_queue_policy { timeout_action: REJECT "
        "default_timeout_microseconds: 2000000 allow_timeout_override: true } }"
    ),
}


def repository(folder: Path) -> Path:
    """Write the models' folders and return the one they are in."""
    for name, batcher in SETTINGS.items():
        shutil.copytree(TEST_MODELS / "delay", folder / name)
        config = folder / name / "config.pbtxt"
        config.write_text(f"{config.read_text()}\n{batcher}\n")
    return folder


@contextlib.contextmanager
def triton() -> Iterator[LocalTriton]:
    """Run a Triton with all of them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalTriton(ensure_runtime(CACHE_DIR), repository(Path(folder)), grace_s=0) as server,
    ):
        yield server


@contextlib.contextmanager
def gateway(*triton_addresses: str) -> Iterator[str]:
    """Run a gateway process as a user would, wait until it serves, and yield its address."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{chosen.getsockname()[1]}"
    command = [str(Path(sys.executable).with_name("matting-gateway")), "serve", "--listen", address]
    command += ["--metrics-listen", "", "--default-model", "delay"]
    for backend in triton_addresses:
        command += ["--triton", backend]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until_serving(address)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_serving(address: str) -> None:
    """Follow the gateway's health until it can serve the model."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60.0):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
