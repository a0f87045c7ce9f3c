# SPDX-License-Identifier: Apache-2.0
"""The data policy against what the system says of the process."""

from collections.abc import Iterator
from pathlib import Path

from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc

from privacy_proof.findings import Finding, finding
from privacy_proof.service import Service


def data_policy(service: Service) -> pb.DataPolicy:
    """Return what the service states."""
    with service.blocking_channel() as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        answer: pb.GetDataPolicyResponse = stub.GetDataPolicy(
            pb.GetDataPolicyRequest(), timeout=30, metadata=service.metadata
        )
    return answer.policy


def processes(service: Service) -> Iterator[Finding]:
    """Compare each statement that the system can confirm."""
    policy = data_policy(service)
    stated = {
        name: value == "yes" for s in policy.statements for name, value in s.values.items() if value in {"yes", "no"}
    }
    real = facts(service.pid)
    wrong = {name: real[name] for name in real if name in stated and stated[name] != real[name]}
    yield finding(
        "the data policy says what is so",
        f"{len(real.keys() & stated.keys())} facts read back, {wrong or 'none'} otherwise",
        kept=not wrong and bool(real.keys() & stated.keys()),
    )
    for statement in policy.statements:
        yield finding(f"stated: {statement.topic}", statement.statement, kept=statement.kept)
    for pid in service.pids():
        process = facts(pid)
        name = (Path("/proc") / str(pid) / "comm").read_text().strip()
        yield finding(f"no core dump of {name} ({pid})", f"{process}", kept=process["core_dumps_off"])


def facts(pid: int) -> dict[str, bool]:
    """Return what the system says of a process, by the names that the policy uses."""
    folder = Path("/proc") / str(pid)
    status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
    limits = (folder / "limits").read_text().splitlines()
    core = next(line for line in limits if line.startswith("Max core file size")).split()
    return {
        "core_dumps_off": core[4:6] == ["0", "0"],
        "memory_locked": int(status.get("VmLck", "0 kB").split()[0]) > 0,
        "no_new_privileges": status["NoNewPrivs"] == "1",
        "umask_safe": status["Umask"].strip() == "0077",
        "seccomp": status.get("Seccomp", "0").strip() != "0",
        "swap_off": len(Path("/proc/swaps").read_text().splitlines()) <= 1,
    }
