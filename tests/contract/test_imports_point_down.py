# SPDX-License-Identifier: Apache-2.0
"""The architecture's import rules, read off the source. A failure names the rule that was broken."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each part of the gateway may import of the gateway. Everything may import the base.
BASE = {"domain", "errors", "clock", "traces", "version"}
ROOMS = {"admission", "imaging", "batching", "triton", "privacy"}
SHARED = {"telemetry", "watched_files", "readiness"}
MAY_IMPORT = {
    "domain": {"errors", "traces"},
    "errors": set(),
    "clock": set(),
    "traces": {"errors"},
    "version": set(),
    "readiness": BASE,
    "telemetry": BASE | {"readiness"},
    "tracing": BASE | {"telemetry", "grpc_client"},
    "watched_files": BASE,
    **dict.fromkeys(ROOMS, BASE | SHARED),
    "triton": BASE | SHARED | {"grpc_client", "rests"},
    "pipeline": BASE | SHARED | ROOMS,
    "settings": BASE | SHARED | ROOMS | {"rpc", "option_values", "tracing"},
    "http2": {"domain"},
    "rests": set(),
    "message_limits": {"domain"},
    "grpc_body": {"domain"},
    "grpc_server": {"domain", "http2", "grpc_body", "rests"},
    "grpc_client": {"domain", "http2", "grpc_body"},
    "rpc": BASE | SHARED | ROOMS | {"pipeline", "grpc_server", "http2", "message_limits", "tracing"},
    "option_values": set(),
    "certificate_dates": set(),
    "checked_settings": BASE | ROOMS | {"settings", "option_values", "rpc"},
    "configuration": BASE | SHARED | ROOMS | {"settings", "checked_settings", "rpc", "certificate_dates", "tracing"},
    "health_check": SHARED | {"grpc_client"},
    "policy_facts": BASE | ROOMS | {"settings"},
    "reloads": BASE | SHARED | {"certificate_dates"},
    "app": BASE | SHARED | ROOMS | {"pipeline", "rpc", "settings", "policy_facts", "reloads", "tracing"},
    "run": BASE | SHARED | ROOMS | {"settings", "app"},
    "cli": {"admission", "clock", "settings", "configuration", "health_check", "privacy", "run"},
    "__main__": {"cli"},
}

# Where a foreign library may be imported in the gateway.
FENCES = {
    "grpc": {"rpc", "triton", "grpc_server", "grpc_client", "tracing/otlp"},
    "opentelemetry": {"tracing/otlp"},
    "hpack": {"http2"},
    "matting": {"rpc"},
    "tritonclient": {"triton", "rpc"},  # it carries the messages of the Open Inference Protocol
    # No codec runs in the gateway's process: only imaging workers load them.
    **{name: {"imaging/worker", "imaging/writers"} for name in ("PIL", "cv2", "simplejpeg", "isal", "pillow_heif")},
    "prometheus_client": {"telemetry"},
    "time": {"clock"},
}

# What a package may import of the project's other packages.
PACKAGES = {
    "matting_gateway": {"matting", "matting_pixels", "matting_models", "matting_triton"},
    "matting_pixels": set(),
    "matting_models": {"matting_triton", "matting_pixels"},
    "matting_triton": set(),
    "matting_client": {"matting", "matting_pixels"},
    "matting_load": {"matting", "matting_client"},
    "matting_programs": set(),  # starts the others, by name
}
PROJECT = {*PACKAGES, "matting"}


@dataclass(frozen=True)
class Import:
    """One import: the file, its line, and the module named."""

    path: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def imports_of(package: str) -> Iterator[Import]:
    folder = next(ROOT / root / package for root in ("server", "clients") if (ROOT / root / package).is_dir())
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(path, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
                yield Import(path, node.lineno, node.module or "")


def part_of(path: Path) -> str:
    """Return the room (or top-level module) of the gateway that a file belongs to."""
    parts = path.relative_to(ROOT / "server" / "matting_gateway").with_suffix("").parts
    return parts[0]


@pytest.mark.slow
def test_inside_the_gateway_imports_point_down() -> None:
    wrong = []
    for found in imports_of("matting_gateway"):
        names = found.module.split(".")
        if names[0] != "matting_gateway" or len(names) == 1:
            continue
        here, there = part_of(found.path), names[1]
        if here != there and there not in MAY_IMPORT.get(here, set()):
            wrong.append(f"{found}: {here} may import only {sorted(MAY_IMPORT.get(here, set()))} of the gateway")
    assert wrong == []


@pytest.mark.slow
def test_foreign_libraries_stay_behind_their_fences() -> None:
    wrong = []
    for found in imports_of("matting_gateway"):
        library = found.module.split(".")[0]
        allowed = FENCES.get(library)
        if allowed is None:
            continue
        module = found.path.relative_to(ROOT / "server" / "matting_gateway").with_suffix("").as_posix()
        if not any(module == a or module.startswith((a + "/", a + "_")) for a in allowed):
            wrong.append(f"{found}: {library} belongs to {sorted(allowed)} alone")
    assert wrong == []


@pytest.mark.slow
def test_what_runs_in_imaging_workers_is_imported_there_alone() -> None:
    workers = ("matting_gateway.imaging.worker", "matting_gateway.imaging.writers")
    wrong = [
        f"{found}: it runs in imaging workers alone"
        for found in imports_of("matting_gateway")
        if any(found.module == worker or found.module.startswith(f"{worker}.") for worker in workers)
        and found.path.parent.name not in {"worker", "writers"}
    ]
    assert wrong == []


@pytest.mark.slow
def test_the_gateway_loads_no_codec() -> None:
    program = "import sys, matting_gateway.cli, matting_gateway.run; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {name.split(".")[0] for name in out.split()}
    assert "numpy" in loaded
    assert loaded & {"PIL", "cv2", "simplejpeg", "isal", "pillow_heif"} == set()


@pytest.mark.slow
def test_the_gateway_loads_opentelemetry_only_where_traces_are_asked_for() -> None:
    program = "import sys, matting_gateway.cli, matting_gateway.run; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "opentelemetry" not in {name.split(".")[0] for name in out.split()}


@pytest.mark.slow
def test_packages_import_only_the_packages_below_them() -> None:
    wrong = []
    for package, allowed in PACKAGES.items():
        for found in imports_of(package):
            other = found.module.split(".")[0]
            if other in PROJECT and other != package and other not in allowed:
                wrong.append(f"{found}: {package} may import only {sorted(allowed)} of the project")
    assert wrong == []


@pytest.mark.slow
def test_the_environment_is_read_by_the_settings_alone() -> None:
    wrong = []
    for path in sorted((ROOT / "server" / "matting_gateway").rglob("*.py")):
        if path.name in {"settings.py", "cli.py", "hardening.py"}:  # hardening sets what a re-executed process needs
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{node.lineno} reads the environment"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
        ]
    assert wrong == []


@pytest.mark.slow
def test_batching_decisions_know_neither_asyncio_nor_a_clock() -> None:
    pure = [p for p in (ROOT / "server/matting_gateway/batching").glob("*.py") if p.name != "scheduler.py"]
    wrong = [
        str(found)
        for found in imports_of("matting_gateway")
        if found.path in pure and found.module.split(".")[0] in {"asyncio", "time"}
    ]
    assert wrong == []
