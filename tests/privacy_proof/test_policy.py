# SPDX-License-Identifier: Apache-2.0
"""What the data policy states, against what the running service really does, with each switch the other way round."""

import hashlib
import os
import secrets
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc

from privacy_proof.processes import data_policy, facts
from privacy_proof.service import Service, started_service

PLANTED = Path(__file__).parent / "planted"
TOKEN = secrets.token_urlsafe()


def scrubbed(service: Service, _folder: Path) -> bool:
    return b"MALLOC_PERTURB_=90" in (Path("/proc") / str(service.pid) / "environ").read_bytes().split(b"\0")


def confined(service: Service, folder: Path) -> bool:
    """Told by an attempt: the planted code writes a file when it is signalled to."""
    os.kill(service.pid, signal.SIGUSR1)
    data_policy(service)  # the signal is handled before the next call is answered
    return not (folder / "planted").exists()


def locked(service: Service, _folder: Path) -> bool:
    return facts(service.pid)["memory_locked"]


def closed_to_strangers(service: Service, _folder: Path) -> bool:
    with service.blocking_channel() as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        try:
            stub.GetDataPolicy(pb.GetDataPolicyRequest(), timeout=20)
        except grpc.RpcError as exc:
            return bool(exc.code() is grpc.StatusCode.UNAUTHENTICATED)
    return False


def metrics_closed(service: Service, _folder: Path) -> bool:
    try:
        with urllib.request.urlopen(service.metrics_url, timeout=20):
            return False
    except urllib.error.HTTPError as exc:
        return exc.code in (401, 403)


def reflection_closed(service: Service, _folder: Path) -> bool:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with service.blocking_channel() as channel:
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([request]), timeout=20, metadata=service.metadata
        )
        try:
            next(iter(answers))
        except grpc.RpcError as exc:
            return bool(exc.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED))
    return False


REALLY: dict[str, Callable[[Service, Path], bool]] = {
    "freed_memory_scrubbed": scrubbed,
    "files_confined": confined,
    "memory_locked": locked,
    "tenants_required": closed_to_strangers,
    "metrics_closed": metrics_closed,
    "reflection_closed": reflection_closed,
}


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        pytest.param((), {}, id="as it comes"),
        pytest.param(("--no-scrub-memory",), {"freed_memory_scrubbed": False}, id="no scrubbing"),
        pytest.param(("--no-confine-files",), {"files_confined": False}, id="no confinement"),
        pytest.param(("--no-lock-memory",), {"memory_locked": False}, id="no locking"),
        pytest.param(("--tenants", "{tenants}"), {"tenants_required": True}, id="tenants"),
        pytest.param(("--close-reflection",), {"reflection_closed": True}, id="no reflection"),
        pytest.param(
            ("--tenants", "{tenants}", "--close-metrics"),
            {"tenants_required": True, "metrics_closed": True},
            id="no metrics for strangers",
        ),
    ],
)
def test_what_is_stated_is_so(arguments: tuple[str, ...], changed: dict[str, bool], tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.toml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tenants.write_text(f'[[tenant]]\nname = "operator"\ntoken_sha256 = ["{digest}"]\n')
    given = [argument.format(tenants=tenants) for argument in arguments]
    environment = {"PYTHONPATH": str(PLANTED), "PLANTED_FOLDER": str(tmp_path)}
    with started_service("--triton", "127.0.0.1:1", *given, environment=environment, wait_backend=False) as started:
        service = replace(started, token=TOKEN if "--tenants" in given else "")
        policy = data_policy(service)
        stated = {name: value == "yes" for s in policy.statements for name, value in s.values.items() if name in REALLY}
        really = {name: look(service, tmp_path) for name, look in REALLY.items()}
    assert stated == really
    # Locking depends on what the machine permits; everything else is for the settings alone to say.
    usual = {"freed_memory_scrubbed": True, "files_confined": True, "memory_locked": really["memory_locked"]}
    assert really == dict.fromkeys(REALLY, False) | usual | changed
