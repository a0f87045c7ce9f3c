# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's perf_analyzer, unmodified: fetched from packages, run against an address, its report read."""

import asyncio
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import psutil

# The last tritonclient wheel with the program inside that runs on glibc 2.35 and newer.
_WHEELS = ("tritonclient==2.48.0", "nvidia-cuda-runtime-cu12==12.9.79")
_DEBIAN_PACKAGE = "libb64-0d"


@dataclass(frozen=True)
class Report:
    """What a run measured. `cpu_us` is processor time for each inference, by the name of the process watched."""

    per_s: float
    p50_us: int
    inference_count: int
    execution_count: int
    server: dict[str, int]
    cpu_us: dict[str, float]
    text: str


@dataclass(frozen=True)
class PerfAnalyzer:
    """The program and the libraries it needs."""

    program: Path
    libraries: str

    async def run(
        self,
        address: str,
        model: str,
        callers: int,
        *arguments: str,
        watched: dict[str, list[int]] | None = None,
        window_s: float = 2.0,
    ) -> Report:
        """Run three windows against an address.

        Args:
            address: HOST:PORT of a server.
            model: What is asked for.
            callers: Requests in flight.
            arguments: More options of perf_analyzer.
            watched: Names and process ids whose processor time is counted.
            window_s: The length of a window; a slow model needs one that holds many answers.
        """
        before = {name: cpu_s(pids) for name, pids in (watched or {}).items()}
        process = await asyncio.create_subprocess_exec(
            self.program,
            *("-m", model, "-u", address, "-i", "grpc", "--concurrency-range", str(callers)),
            *("-p", f"{1000 * window_s:.0f}", "-r", "3", "-s", "999", *arguments),
            env={"LD_LIBRARY_PATH": self.libraries},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        usage = psutil.Process(process.pid)
        started_s = usage.create_time()
        output, _ = await process.communicate()
        text = output.decode()
        elapsed_s = max(1e-3, time.time() - started_s)
        per_s = float(_found(r"Throughput: ([\d.]+)", text))
        inferences = max(1.0, per_s * elapsed_s)
        after = {name: cpu_s(pids) for name, pids in (watched or {}).items()}
        return Report(
            per_s=per_s,
            p50_us=int(_found(r"p50 latency: (\d+)", text)),
            inference_count=int(_found(r"Inference count: (\d+)", text, "0")),
            execution_count=int(_found(r"Execution count: (\d+)", text, "0")),
            server={name: int(us) for name, us in re.findall(r"(queue|compute \w+) (\d+) usec", text)},
            cpu_us={name: 1e6 * (after[name] - before[name]) / inferences for name in after},
            text=text,
        )


def ensure_perf_analyzer(cache: Path) -> PerfAnalyzer:
    """Fetch the program into `cache` unless it is there.

    Raises:
        RuntimeError: A part cannot be fetched; says which.
    """
    folder = cache / "perf_analyzer"
    program = folder / "tritonclient-2.48.0.data/data/bin/perf_analyzer"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _fetch([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", *_WHEELS], folder)
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        _fetch(["apt-get", "download", "--quiet", _DEBIAN_PACKAGE], folder)
        _fetch(["dpkg", "-x", str(next(folder.glob("libb64*.deb"))), str(folder)], folder)
        program.chmod(0o755)
    libraries = (folder / "usr/lib/x86_64-linux-gnu", folder / "nvidia/cuda_runtime/lib")
    return PerfAnalyzer(program, ":".join(map(str, libraries)))


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def _fetch(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"perf_analyzer cannot be fetched: {' '.join(command)}: {done.stderr.strip()[-300:]}")


def _found(pattern: str, text: str, default: str | None = None) -> str:
    match = re.search(pattern, text)
    if match is not None:
        return match[1]
    if default is None:
        raise RuntimeError(f"perf_analyzer reported no {pattern!r}: {text[-800:]}")
    return default


def cpu_s(pids: list[int]) -> float:
    """Return the processor time that the processes of these that still run have used."""
    total_s = 0.0
    for pid in pids:
        if psutil.pid_exists(pid):
            times = psutil.Process(pid).cpu_times()
            total_s += times.user + times.system
    return total_s
