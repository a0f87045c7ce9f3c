# SPDX-License-Identifier: Apache-2.0
"""The service runs as any user, on a read-only root, with no writable path but /dev/shm."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_triton.local import LocalTriton
from testkit.first_channel import NAME, write_first_channel
from testkit.tenants import SIDE_PX, photo

from privacy_proof.processes import data_policy
from privacy_proof.read_only import NOBODY, command, writable_mounts
from privacy_proof.service import Service, ServiceDiedError, started_service

pytestmark = pytest.mark.triton


@pytest.fixture
def repository() -> Iterator[Path]:
    """A repository that everybody can read; pytest's own folders are root's alone."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    write_first_channel(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


def serve_one(service: Service) -> None:
    with grpc.insecure_channel(service.address) as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        assert stub.RemoveBackground(photo(), timeout=60).outputs[0].width_px == SIDE_PX


def assert_nobody_anywhere(service: Service) -> None:
    for pid in service.pids():
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
        assert writable_mounts(pid) == {"tmpfs", "proc"}
    (disk,) = [s for s in data_policy(service).statements if s.topic == "storage.disk"]
    assert disk.values["root_read_only"] == "yes"


@pytest.mark.usefixtures("triton_runtime")
def test_with_its_own_triton(repository: Path) -> None:
    """Triton's Python backend makes an empty folder in /tmp, by that name: there /tmp leads to /dev/shm."""
    arguments = ("--repository", str(repository), "--default-model", NAME)
    with started_service(*arguments, prefix=command(temporary_folder=True)) as service:
        serve_one(service)
        assert_nobody_anywhere(service)
    theirs = [path for path in Path("/dev/shm").iterdir() if path.stat().st_uid == NOBODY]
    assert not [path for path in theirs if not path.is_dir() or os.listdir(path)]
    for path in theirs:  # that folder, which Triton forgets there
        path.rmdir()


def test_with_a_triton_elsewhere(triton_server: LocalTriton) -> None:
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing")
    with started_service(*arguments, prefix=command(temporary_folder=False)) as service:
        serve_one(service)
        assert_nobody_anywhere(service)


@pytest.mark.usefixtures("triton_runtime")
def test_a_triton_that_could_not_start_there_says_why(repository: Path) -> None:
    arguments = ("--repository", str(repository), "--default-model", NAME)
    with (
        pytest.raises(ServiceDiedError, match="let it lead to /dev/shm"),
        started_service(*arguments, prefix=command(temporary_folder=False)),
    ):
        pass
