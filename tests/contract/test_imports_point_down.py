# SPDX-License-Identifier: Apache-2.0
"""The architecture's import rules, read off the source. A failure names the rule that was broken."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("server", "clients")

# What each part of the gateway may import of the gateway. Everything may import the base.
BASE = {"array_memory", "domain", "errors", "clock", "options", "token_bucket", "traces", "version"}
ROOMS = {"admission", "imaging", "batching", "triton", "privacy"}
SHARED = {"telemetry", "reloading", "readiness"}
MAY_IMPORT = {
    "domain": {"errors", "traces"},
    "errors": set(),
    "array_memory": set(),
    "clock": set(),
    "options": set(),
    "token_bucket": set(),
    "traces": {"errors"},
    "version": set(),
    "readiness": BASE,
    "telemetry": BASE | {"readiness"},
    "tracing": BASE | {"telemetry", "reloading"},
    "reloading": BASE | {"telemetry"},
    **dict.fromkeys(ROOMS, BASE | SHARED),
    "pipeline": BASE | SHARED | ROOMS,
    "rpc": BASE | SHARED | ROOMS | {"pipeline", "tracing"},
    "configuration": BASE | SHARED | ROOMS | {"rpc", "tracing"},
    "health_check": SHARED,
    "policy_facts": BASE | ROOMS | {"configuration"},
    "app": BASE | SHARED | ROOMS | {"pipeline", "rpc", "configuration", "policy_facts", "tracing"},
    "run": BASE | SHARED | ROOMS | {"configuration", "app"},
    "cli": {"admission", "clock", "configuration", "health_check", "options", "privacy", "run"},
    "__main__": {"cli"},
}

# What rooms within a room, or within another package, may import of each other. What lies beside them in their room,
# they may share.
ROOMS_WITHIN: dict[str, dict[str, set[str]]] = {
    "matting_gateway.rpc": {
        "boundary": set(),
        "photo": {"boundary"},
        "tensor": {"boundary"},
        "serving": {"boundary", "photo", "tensor"},
    },
    "matting_gateway.imaging": {
        "headers": set(),
        "dispatch": set(),
        "color": {"headers"},
        "writers": {"color"},
        "worker": {"headers", "color", "writers"},
    },
    "matting_gateway.batching": {"latency": set(), "endpoints": {"latency"}, "queue": {"latency", "endpoints"}},
    "matting_gateway.triton": {
        "discovery": set(),
        "shared_memory": set(),
        "transport": {"discovery", "shared_memory"},
        "pool": {"discovery", "shared_memory", "transport"},
    },
    "grpc_h2.http2": {"wire": set()},
    "grpc_h2": {"http2": set(), "bodies": {"http2"}, "server": {"http2", "bodies"}, "client": {"http2", "bodies"}},
    "matting_models": {
        "recipes": set(),
        "sources": {"recipes"},
        "trials": {"recipes", "sources"},
        "graph": {"recipes", "sources", "trials"},
        "repository": {"recipes", "sources"},
        "quantization": {"sources", "trials", "graph"},
        "commands": {"recipes", "sources", "trials", "graph", "repository", "quantization"},
    },
    "matting_load": {"sending": set(), "reports": {"sending"}},
    "matting_client": {"transport": set(), "program": {"transport"}},
}
MOST_MODULES = 15  # of one folder

# Where a foreign library may be imported in the gateway.
FENCES = {
    "grpc": {"rpc", "triton", "tracing/otlp", "reloading/client_tls"},
    "opentelemetry": {"tracing/otlp"},
    "hpack": set(),  # it is grpc_h2's
    "matting": {"rpc"},
    "tritonclient": {"triton", "rpc"},  # it carries the messages of the Open Inference Protocol
    # No codec runs in the gateway's process: only imaging workers load them.
    **{
        name: {"imaging/worker", "imaging/writers", "imaging/color"}
        for name in ("PIL", "cv2", "simplejpeg", "isal", "pillow_heif")
    },
    "prometheus_client": {"telemetry"},
    "time": {"clock"},
}

# What a package may import of the project's other packages.
PACKAGES = {
    "grpc_h2": set(),
    "open_inference": set(),
    "matting_gateway": {"matting", "matting_pixels", "matting_models", "matting_triton", "grpc_h2", "open_inference"},
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
    names: tuple[str, ...] = ()

    @property
    def modules(self) -> set[str]:
        """The project's modules among what is imported."""
        named = {f"{self.module}.{name}" for name in self.names}
        return {module for module in (self.module, *named) if is_module(module)}

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def folder_of(package: str) -> Path:
    """Return where a package of the project lies."""
    place = package.replace(".", "/")
    return next(ROOT / root / place for root in SOURCE_ROOTS if (ROOT / root / place).is_dir())


def is_module(name: str) -> bool:
    place = name.replace(".", "/")
    return any((ROOT / root / f"{place}.py").is_file() for root in SOURCE_ROOTS)


def module_name(path: Path) -> str:
    root = next(ROOT / root for root in SOURCE_ROOTS if path.is_relative_to(ROOT / root))
    return ".".join(path.relative_to(root).with_suffix("").parts)


def imports_of(package: str) -> Iterator[Import]:
    for path in sorted(folder_of(package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(path, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
                yield Import(path, node.lineno, node.module or "", tuple(alias.name for alias in node.names))


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
def test_rooms_within_rooms_import_down_too() -> None:
    wrong = []
    for room, may_import in ROOMS_WITHIN.items():
        for found in imports_of(room):
            within = found.path.relative_to(folder_of(room)).parts[0]
            there = found.module.removeprefix(f"{room}.").split(".")[0]
            known = found.module.startswith(f"{room}.") and {within, there} <= may_import.keys()
            if known and there not in {within, *may_import[within]}:
                wrong.append(f"{found}: of its neighbours {room}.{within} may import only {sorted(may_import[within])}")
    assert wrong == []


@pytest.mark.slow
def test_no_module_imports_itself_by_way_of_others() -> None:
    imported: dict[str, set[str]] = {}
    for package in PACKAGES:
        for found in imports_of(package):
            imported.setdefault(module_name(found.path), set()).update(found.modules)
    order = graphlib.TopologicalSorter(imported)
    order.prepare()  # raises CycleError, which names the way round


def test_no_folder_has_more_modules_than_one_can_look_through() -> None:
    wrong = []
    for package in PACKAGES:
        top = folder_of(package)
        for folder in (top, *(path for path in top.rglob("*") if path.is_dir())):
            count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
            if count > MOST_MODULES:
                wrong.append(f"{folder.relative_to(ROOT)} has {count} modules: draw rooms")
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
    workers = tuple(f"matting_gateway.imaging.{room}" for room in ("worker", "writers", "color"))
    wrong = [
        f"{found}: it runs in imaging workers alone"
        for found in imports_of("matting_gateway")
        if any(found.module == worker or found.module.startswith(f"{worker}.") for worker in workers)
        and found.path.parent.name not in {"worker", "writers", "color"}
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
def test_command_lines_are_read_by_click_alone() -> None:
    assert [str(found) for package in PACKAGES for found in imports_of(package) if found.module == "argparse"] == []


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
    pure = [p for p in (ROOT / "server/matting_gateway/batching").rglob("*.py") if p.name != "scheduler.py"]
    wrong = [
        str(found)
        for found in imports_of("matting_gateway")
        if found.path in pure and found.module.split(".")[0] in {"asyncio", "time"}
    ]
    assert wrong == []
